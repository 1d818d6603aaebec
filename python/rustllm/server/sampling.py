"""The sampling fields that all generation endpoints share, and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import ConfigDict, Field

from rustllm._rustllm import Grammar, InvalidRequestError, SamplingParams, Tokenizer
from rustllm.chat.constraint import Compiled, Constraint, compile_constraint, from_response_format, the_one
from rustllm.chat.plan import Plan
from rustllm.invalid import shown
from rustllm.limits import GRAMMAR, LIST, SCHEMA, Caps
from rustllm.sampling_values import logit_bias_pairs, sampler_names, seed_value
from rustllm.server.constraints import ConstraintFields, asked
from rustllm.server.errors import ApiError
from rustllm.server.parts import AsGiven, FromClient, Part
from rustllm.server.state import Model, ServerState


class LoraScale(Part):
    """An adapter with its weight."""

    id: int = Field(description="The adapter's number.")
    scale: float = Field(description="Its weight; 0 is off.")


#: A token id or a text, and a bias.
Pair = Annotated[list[int | str | float | bool], Field(max_length=2)]


class SamplingFields(FromClient):
    """Fields of llama-server's sampling, with their types; ranges are the engine's to judge."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    caps: ClassVar[Caps] = {
        "n": ("choices",),
        "n_cmpl": ("choices",),
        "lora": LIST,
        "dry_sequence_breakers": LIST,
        "samplers": LIST,
        "stop": ("stop_strings",),
        "stop_token_ids": LIST,
        "logit_bias": ("biases",),
        "n_probs": ("logprobs",),
        "json_schema": SCHEMA,
        "grammar": GRAMMAR,
    }

    n_predict: int | None = Field(None, description="Tokens to generate at most; -1 is unlimited.")
    max_tokens: int | None = Field(None, description="The same, by OpenAI's name.")
    max_completion_tokens: int | None = Field(None, description="The same, by OpenAI's newer name.")
    n: int | None = Field(None, description="Choices to generate; choice j uses seed + j.")
    n_cmpl: int | None = Field(None, description="The same, by llama-server's name.")
    n_indent: int | None = Field(None, description="Least indentation; only 0 (off) is supported.")
    lora: list[Annotated[dict[str, Any], AsGiven(LoraScale)]] | None = Field(
        None, description="Adapters with their weights; others are off. Without it the server's own (`/lora-adapters`)."
    )
    reasoning_format: str | None = Field(
        None,
        description="What becomes of thoughts in chats: `none`, `auto`, `deepseek`, `deepseek-legacy`. Elsewhere "
        "they stay in the text, and only `none` and `auto` are allowed.",
    )
    seed: int | None = Field(None, description="-1 draws a random seed.")
    temperature: float | None = Field(None, description="0 or below is greedy.")
    dynatemp_range: float | None = Field(
        None, description="The temperature moves by up to this much either way with the entropy; 0 is off."
    )
    dynatemp_exponent: float | None = Field(None, description="How the entropy maps to the temperature.")
    top_k: int | None = Field(None, description="0 or below is off.")
    top_p: float | None = Field(None, description="1 or above is off.")
    min_p: float | None = Field(None, description="Least probability, relative to the best token; 0 is off.")
    top_n_sigma: float | None = Field(
        None, description="Keeps tokens within so many standard deviations of the best logit; below 0 is off."
    )
    xtc_probability: float | None = Field(None, description="Chance of removing top choices; 0 is off.")
    xtc_threshold: float | None = Field(None, description="Least probability of a token that XTC may remove.")
    typical_p: float | None = Field(None, description="Locally typical sampling; 1 is off.")
    typ_p: float | None = Field(None, description="The same, by its short name.")
    adaptive_target: float | None = Field(None, description="Target probability of adaptive-p; below 0 is off.")
    adaptive_decay: float | None = Field(None, description="How slowly adaptive-p follows.")
    repeat_last_n: int | None = Field(None, description="0 is off, -1 is the context.")
    repeat_penalty: float | None = Field(None, description="Divides the logits of recent tokens; 1 is off.")
    presence_penalty: float | None = Field(None, description="Taken from the logits of recent tokens; 0 is off.")
    frequency_penalty: float | None = Field(None, description="Taken once for each appearance; 0 is off.")
    dry_multiplier: float | None = Field(None, description="Strength of the DRY penalty; 0 is off.")
    dry_base: float | None = Field(None, description="Base of DRY's growth.")
    dry_allowed_length: int | None = Field(None, description="Longest repeated run that DRY leaves alone.")
    dry_penalty_last_n: int | None = Field(None, description="Tokens that DRY looks at; 0 none, -1 the context.")
    dry_sequence_breakers: list[str] | None = Field(None, description="Texts that end a run for DRY.")
    mirostat: int | None = Field(None, description="0 off, 1 or 2.")
    mirostat_tau: float | None = Field(None, description="Mirostat's target entropy.")
    mirostat_eta: float | None = Field(None, description="Mirostat's learning rate.")
    logit_bias: dict[str, float | bool] | list[Pair] | None = Field(
        None, description="Pairs of a token id or a text and a bias; false forbids the token."
    )
    ignore_eos: bool | None = Field(None, description="Do not stop at the end-of-text token.")
    samplers: list[str] | str | None = Field(None, description="Stages by name, or by letter in one string.")
    n_probs: int | None = Field(None, description="Most probable tokens reported with each token.")
    post_sampling_probs: bool | None = Field(
        None, description="Report probabilities after the sampler chain instead of log probabilities before it."
    )
    min_keep: int | None = Field(None, description="Tokens that each stage keeps at least.")
    stop: str | list[str] | None = Field(None, description="Texts that end the answer; they are not part of it.")
    stop_token_ids: list[int] | None = Field(None, description="Tokens that end the answer, as in vLLM.")
    include_stop_str_in_output: bool | None = Field(
        None, description="Leave the stop string or token in the text, as in vLLM."
    )
    min_tokens: int | None = Field(
        None, description="Tokens before which nothing but a limit or a grammar ends the answer, as in vLLM."
    )
    cache_prompt: bool | None = Field(None, description="Reuse what the cache holds of the prompt; true by default.")
    cache_salt: str | None = Field(
        None, description="Prompts of other salts share nothing in the cache with this one, as in vLLM."
    )
    n_keep: int | None = Field(
        None,
        description="Tokens of the prompt's start that stay when the context is shifted (--context-shift); -1 all.",
    )
    n_discard: int | None = Field(
        None, description="Tokens that go when the context is shifted; 0 is half of those that need not stay."
    )
    t_max_predict_ms: int | None = Field(None, description="Milliseconds after which an answer ends at the next line.")
    return_progress: bool | None = Field(None, description="Report the progress of the prompt in streams.")
    id_slot: int | None = Field(None, description="The slot to run in; -1 is any.")
    grammar: str | None = Field(None, description="A GBNF grammar.")
    json_schema: Any = Field(None, description="A JSON schema that the answer must satisfy.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    timings_per_token: bool | None = Field(None, description="Add timings to each event.")
    return_tokens: bool | None = Field(None, description="Return token ids beside the text.")
    verbose: bool | None = Field(None, description="Add a `__verbose` part to the answer.")


#: Fields that go to the engine as they are.
_PLAIN = frozenset(SamplingFields.model_fields) - {
    "max_tokens",
    "max_completion_tokens",
    "n_cmpl",
    "n_indent",
    "lora",
    "cache_salt",
    "reasoning_format",
    "typ_p",
    "logit_bias",
    "samplers",
    "stop",
    "seed",
    "grammar",
    "json_schema",
    "stream",
    "timings_per_token",
    "return_tokens",
    "verbose",
}


def build_params(
    fields: SamplingFields, state: ServerState, tokenizer: Tokenizer, plan: Plan | None = None
) -> SamplingParams:
    """The engine's parameters: the request's fields over the server's defaults."""
    _refuse_unsupported(fields, () if plan is None else ("reasoning_format",))
    values = state.request_defaults()
    if plan is not None:
        values["preserved_tokens"] = plan.preserved(tokenizer)
    for name in _PLAIN:
        value = getattr(fields, name)
        if value is not None:
            values[name] = value
    values["cache_salt"] = state.salted(fields.cache_salt)
    limit = limit_name(fields)
    if limit is not None:
        values["n_predict"] = getattr(fields, limit)
    if fields.n_cmpl is not None:
        values["n"] = fields.n_cmpl
    if fields.typical_p is None and fields.typ_p is not None:
        values["typical_p"] = fields.typ_p
    if fields.lora:
        values["lora"] = [(one["id"], one["scale"]) for one in fields.lora]
    if isinstance(fields, ConstraintFields):
        values["prompt_logprobs"] = fields.prompt_logprobs
    if fields.seed is not None:
        values["seed"] = seed_value(fields.seed)
    if fields.stop is not None:
        values["stop"] = [fields.stop] if isinstance(fields.stop, str) else fields.stop
    if fields.samplers is not None:
        values["samplers"] = sampler_names(fields.samplers)
    if fields.logit_bias is not None:
        values["logit_bias"] = logit_bias_pairs(fields.logit_bias, tokenizer)
    try:
        return SamplingParams(**values)
    except InvalidRequestError as error:
        # The engine knows a field by one name only.
        given = {"n_predict": limit, "n": "n_cmpl" if fields.n_cmpl is not None else None}.get(error.param)
        if given is not None:
            raise ApiError(400, str(error).replace(error.param, given, 1), param=given) from None
        raise


def limit_name(fields: SamplingFields) -> str | None:
    """The field that limits the answer's length; llama-server's own name goes first, then the newest."""
    names = ("n_predict", "max_completion_tokens", "max_tokens")
    return next((name for name in names if getattr(fields, name) is not None), None)


def _refuse_unsupported(fields: SamplingFields, supported_here: Sequence[str]) -> None:
    """Refuses what would change the answer and is not there, instead of ignoring it."""
    supported: dict[str, tuple[Any, ...]] = {"n_indent": (0,), "reasoning_format": ("none", "auto")}
    for name, harmless in supported.items():
        value = getattr(fields, name)
        if value is not None and value not in harmless and name not in supported_here:
            allowed = ", ".join(repr(word) for word in harmless)
            raise ApiError(400, f"{name}: {shown(value)} is not supported yet; allowed: {allowed}", param=name)


async def compile_grammar(
    fields: SamplingFields,
    response_format: dict[str, Any] | None,
    state: ServerState,
    model: Model,
    plan: Plan | None = None,
) -> Compiled:
    """The grammar that a request asks for, if it does, and what the engine watches for."""
    chosen = the_one(_asked(fields, response_format))
    default = chosen is None and state.settings.grammar is not None
    if chosen is None and state.settings.grammar is not None:
        chosen = Constraint(*state.settings.grammar, "grammar")

    def work() -> Compiled:
        return compile_constraint(model.native, chosen, plan, strict=state.settings.strict_schema, default=default)

    if chosen is None and (plan is None or not plan.tools.active):
        return work()
    # Compiling takes milliseconds at least, so never on the loop's thread.
    return await state.off_loop(1 << 30, work)


def _asked(fields: SamplingFields, response_format: dict[str, Any] | None) -> list[Constraint]:
    found = list(asked(fields))
    if fields.grammar:
        found.append(Constraint("gbnf", fields.grammar, "grammar"))
    if fields.json_schema is not None:
        found.append(Constraint("json_schema", orjson.dumps(fields.json_schema).decode(), "json_schema"))
    if response_format is not None and (one := from_response_format(response_format)) is not None:
        found.append(one)
    return found


def schema_headers(grammar: Grammar | None) -> dict[str, str]:
    """Names schema keywords that are accepted but not enforced."""
    if grammar is None or not grammar.ignored_keywords:
        return {}
    text = ", ".join(grammar.ignored_keywords)[:1000]
    return {"X-RustLLM-Ignored-Schema-Keywords": text.encode("ascii", "replace").decode()}
