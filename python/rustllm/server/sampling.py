"""The sampling fields that all generation endpoints share, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from rustllm._rustllm import Grammar, InvalidRequestError, SamplingParams, Tokenizer
from rustllm.flags.resolve import SAMPLER_LETTERS
from rustllm.server.errors import ApiError
from rustllm.server.state import Model, ServerState

#: Bias entries of one request, before strings are turned into tokens.
MAX_BIASES = 4096


class SamplingFields(BaseModel):
    """Fields of llama-server's sampling, with their types; ranges are the engine's to judge."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    n_predict: int | None = Field(None, description="Tokens to generate at most; -1 is unlimited.")
    max_tokens: int | None = Field(None, description="The same, by OpenAI's name.")
    n: int | None = Field(None, description="Choices to generate; choice j uses seed + j.")
    seed: int | None = Field(None, description="-1 draws a random seed.")
    temperature: float | None = Field(None, description="0 or below is greedy.")
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    top_k: int | None = Field(None, description="0 or below is off.")
    top_p: float | None = Field(None, description="1 or above is off.")
    min_p: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    typical_p: float | None = None
    typ_p: float | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    repeat_last_n: int | None = Field(None, description="0 is off, -1 is the context.")
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    logit_bias: dict[str, float | bool] | list[list[int | str | float | bool]] | None = Field(
        None, description="Pairs of a token id or a text and a bias; false forbids the token."
    )
    ignore_eos: bool | None = None
    samplers: list[str] | str | None = Field(None, description="Stages by name, or by letter in one string.")
    n_probs: int | None = None
    post_sampling_probs: bool | None = None
    min_keep: int | None = None
    stop: str | list[str] | None = None
    cache_prompt: bool | None = None
    n_keep: int | None = None
    t_max_predict_ms: int | None = None
    return_progress: bool | None = None
    id_slot: int | None = None
    grammar: str | None = Field(None, description="A GBNF grammar.")
    json_schema: Any = Field(None, description="A JSON schema that the answer must satisfy.")
    stream: bool | None = None
    timings_per_token: bool | None = None
    return_tokens: bool | None = None
    verbose: bool | None = None


#: Fields that go to the engine as they are.
_PLAIN = frozenset(SamplingFields.model_fields) - {
    "max_tokens",
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


def build_params(fields: SamplingFields, defaults: Mapping[str, Any], tokenizer: Tokenizer) -> SamplingParams:
    """The engine's parameters: the request's fields over the server's defaults."""
    values: dict[str, Any] = dict(defaults)
    for name in _PLAIN:
        value = getattr(fields, name)
        if value is not None:
            values[name] = value
    if fields.n_predict is None and fields.max_tokens is not None:
        values["n_predict"] = fields.max_tokens
    if fields.typical_p is None and fields.typ_p is not None:
        values["typical_p"] = fields.typ_p
    if fields.seed is not None:
        values["seed"] = _seed(fields.seed)
    if fields.stop is not None:
        values["stop"] = [fields.stop] if isinstance(fields.stop, str) else fields.stop
    if fields.samplers is not None:
        values["samplers"] = _samplers(fields.samplers)
    if fields.logit_bias is not None:
        values["logit_bias"] = _logit_bias(fields.logit_bias, tokenizer)
    try:
        return SamplingParams(**values)
    except InvalidRequestError as error:
        if error.param == "n_predict" and fields.max_tokens is not None and fields.n_predict is None:
            raise ApiError(400, str(error).replace("n_predict", "max_tokens", 1), param="max_tokens") from None
        raise


def _seed(seed: int) -> int:
    if not -1 <= seed <= 0xFFFF_FFFF:
        raise ApiError(400, f"seed: {seed} is out of range; allowed: -1 (random) to 4294967295", param="seed")
    return 0xFFFF_FFFF if seed == -1 else seed


def _samplers(samplers: list[str] | str) -> list[str]:
    if isinstance(samplers, list):
        return samplers[:64]
    return [SAMPLER_LETTERS[letter] for letter in samplers[:64] if letter in SAMPLER_LETTERS]


def _logit_bias(entries: dict[str, float | bool] | list[Any], tokenizer: Tokenizer) -> list[tuple[int, float]]:
    if len(entries) > MAX_BIASES:
        message = f"logit_bias: it has {len(entries)} entries; allowed: up to {MAX_BIASES}"
        raise ApiError(400, message, param="logit_bias")
    if isinstance(entries, dict):
        pairs: list[Any] = [(int(key) if key.lstrip("-").isdecimal() else key, bias) for key, bias in entries.items()]
    else:
        pairs = entries
    out = []
    for pair in pairs:
        if len(pair) != 2:
            raise ApiError(400, f"logit_bias: {pair!r:.60} is not a pair of token and bias", param="logit_bias")
        token, bias = pair
        if bias is True or isinstance(bias, str):
            raise ApiError(400, f"logit_bias: {bias!r:.60} is not a bias; allowed: a number, false", param="logit_bias")
        value = float("-inf") if bias is False else float(bias)
        out += [(id_, value) for id_ in _bias_tokens(token, tokenizer)]
    return out


def _bias_tokens(token: object, tokenizer: Tokenizer) -> list[int]:
    if isinstance(token, str):
        return tokenizer.encode(token, add_special=False, parse_special=False)
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < tokenizer.vocab_size:
        allowed = f"a text, or a token id from 0 to {tokenizer.vocab_size - 1}"
        raise ApiError(400, f"logit_bias: {token!r:.60} is not a token; allowed: {allowed}", param="logit_bias")
    return [token]


async def compile_grammar(
    fields: SamplingFields, response_format: dict[str, Any] | None, state: ServerState, model: Model
) -> Grammar | None:
    """The grammar that a request asks for, if it does."""
    chosen = _grammar_source(fields, response_format)
    if chosen is None and state.settings.grammar is not None:
        kind, source = state.settings.grammar
        chosen = (kind, source, "grammar", False)
    if chosen is None:
        return None
    kind, source, param, strict = chosen
    strict = strict or state.settings.strict_schema

    def work() -> Grammar:
        return model.native.compile_grammar(kind, source, param=param, strict=strict)

    # Compiling takes milliseconds at least, so never on the loop's thread.
    return await state.off_loop(1 << 30, work)


def _grammar_source(
    fields: SamplingFields, response_format: dict[str, Any] | None
) -> tuple[str, str, str, bool] | None:
    """(kind, source, field, strict)"""
    found: list[tuple[str, str, str, bool]] = []
    if fields.grammar:
        found.append(("gbnf", fields.grammar, "grammar", False))
    if fields.json_schema is not None:
        found.append(("json_schema", _json(fields.json_schema), "json_schema", False))
    if response_format is not None:
        found += _from_response_format(response_format)
    if len(found) > 1:
        names = " and ".join(row[2] for row in found)
        raise ApiError(400, f"{names}: only one of them may be given", param=found[1][2])
    return found[0] if found else None


def _from_response_format(form: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    kind = form.get("type")
    if kind == "text":
        return []
    if kind == "json_object":
        if form.get("schema") is not None:
            return [("json_schema", _json(form["schema"]), "response_format.schema", False)]
        return [("json_object", "", "response_format", False)]
    if kind == "json_schema":
        outer = form.get("json_schema")
        if not isinstance(outer, dict):
            raise ApiError(400, "response_format.json_schema: an object is needed", param="response_format.json_schema")
        if outer.get("schema") is None:
            param = "response_format.json_schema.schema"
            raise ApiError(400, f"{param}: it is missing", param=param)
        strict = outer.get("strict") is True
        return [("json_schema", _json(outer["schema"]), "response_format.json_schema.schema", strict)]
    allowed = "'text', 'json_object', 'json_schema'"
    message = f"response_format.type: {kind!r:.60} is unknown; allowed: {allowed}"
    raise ApiError(400, message, param="response_format.type")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def schema_headers(grammar: Grammar | None) -> dict[str, str]:
    """Names schema keywords that are accepted but not enforced."""
    if grammar is None or not grammar.ignored_keywords:
        return {}
    text = ", ".join(grammar.ignored_keywords)[:1000]
    return {"X-RustLLM-Ignored-Schema-Keywords": text.encode("ascii", "replace").decode()}
