"""How answers are sampled: `SamplingParams`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rustllm._rustllm import InvalidRequestError
from rustllm._rustllm import SamplingParams as NativeParams
from rustllm.invalid import invalid
from rustllm.sampling_values import check_biases, logit_bias_pairs, sampler_names, seed_value

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rustllm._rustllm import Tokenizer

#: The engine's names of fields that have another one here.
_ENGINE_NAMES = {"n_predict": "max_tokens", "n_probs": "logprobs"}

#: Fields that are not the engine's, or not in the form that it takes.
_OWN = ("max_tokens", "logprobs", "logit_bias", "seed", "samplers", "stop", "repetition_penalty")
_CONSTRAINTS = ("grammar", "json_schema", "regex", "choice")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence)


def _is_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


#: What fields must be that the engine does not get as they are; None is absent in all but `stop`.
_FORMS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("seed", _is_whole, "a whole number"),
    ("logprobs", _is_whole, "a whole number"),
    ("stop", _is_list, "a text or a sequence of texts"),
    ("samplers", _is_list, "a text or a sequence of texts"),
    ("logit_bias", lambda value: isinstance(value, Mapping), "a mapping of tokens to biases"),
    ("grammar", lambda value: isinstance(value, str), "a text"),
    ("regex", lambda value: isinstance(value, str), "a text"),
    ("choice", _is_texts, "a sequence of texts"),
)


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How an answer is sampled and when it ends. Names and defaults are llama-server's, beside vLLM's
    `max_tokens`, `logprobs` and `repetition_penalty`.

    Raises InvalidRequestError, a ValueError whose `param` is the field, with the words that the server has.

    >>> SamplingParams(max_tokens=16, temperature=0)
    SamplingParams(max_tokens=16, temperature=0)
    >>> SamplingParams(top_p=2).top_p  # 1 and above is off
    2
    >>> SamplingParams(n=0)
    Traceback (most recent call last):
    rustllm._rustllm.InvalidRequestError: n: 0 is out of range; allowed: 1 to 128
    """

    #: Tokens of an answer at most; None goes on until the model ends it or the context is full.
    max_tokens: int | None = None
    #: Answers to each prompt; answer j has the seed `seed + j`.
    n: int = 1
    #: Seed of the draws, 0 to 4294967295; None or -1 draws a random one.
    seed: int | None = None
    #: 0 and below is greedy.
    temperature: float = 0.8
    #: The temperature moves by up to this much either way with the entropy; 0 is off.
    dynatemp_range: float = 0.0
    #: How the entropy maps to the temperature.
    dynatemp_exponent: float = 1.0
    #: The most probable tokens that stay; 0 and below is off.
    top_k: int = 40
    #: The most probable tokens whose probabilities add up to this stay; 1 and above is off.
    top_p: float = 0.95
    #: Least probability, relative to the best token's; 0 is off.
    min_p: float = 0.05
    #: Tokens within so many standard deviations of the best logit stay; below 0 is off.
    top_n_sigma: float = -1.0
    #: Chance of removing the top choices (XTC); 0 is off.
    xtc_probability: float = 0.0
    #: Least probability of a token that XTC may remove.
    xtc_threshold: float = 0.1
    #: Locally typical sampling; 1 is off.
    typical_p: float = 1.0
    #: Target probability of adaptive-p; below 0 is off.
    adaptive_target: float = -1.0
    #: How slowly adaptive-p follows.
    adaptive_decay: float = 0.9
    #: Tokens that the penalties look at; 0 is off, -1 the context.
    repeat_last_n: int = 64
    #: Divides the logits of recent tokens; 1 is off.
    repeat_penalty: float = 1.0
    #: vLLM's name of `repeat_penalty`, which it replaces where it is given.
    repetition_penalty: float | None = None
    #: Taken from the logits of recent tokens; 0 is off.
    presence_penalty: float = 0.0
    #: Taken from the logits of recent tokens once for each appearance; 0 is off.
    frequency_penalty: float = 0.0
    #: Strength of the DRY penalty; 0 is off.
    dry_multiplier: float = 0.0
    #: Base of DRY's growth.
    dry_base: float = 1.75
    #: Longest repeated run of tokens that DRY leaves alone.
    dry_allowed_length: int = 2
    #: Tokens that DRY looks at; 0 none, -1 the context.
    dry_penalty_last_n: int = 64
    #: Texts that end a run for DRY.
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    #: 0 off, 1 or 2.
    mirostat: int = 0
    #: Mirostat's target entropy.
    mirostat_tau: float = 5.0
    #: Mirostat's learning rate.
    mirostat_eta: float = 0.1
    #: What is added to the logits of tokens, given by id or text; False forbids a token.
    logit_bias: Mapping[int | str, float | bool] | None = None
    #: Stages of the chain in their order, by name, or by letter in one text; None is llama-server's chain.
    samplers: Sequence[str] | str | None = None
    #: Tokens that each stage keeps at least.
    min_keep: int = 0
    #: Texts that end an answer; they are not part of it.
    stop: str | Sequence[str] = ()
    #: Tokens that end an answer.
    stop_token_ids: Sequence[int] = ()
    #: Whether the stop text stays in the answer.
    include_stop_str_in_output: bool = False
    #: Whether the model's own end does not end an answer.
    ignore_eos: bool = False
    #: Tokens before which nothing but a limit or a grammar ends an answer.
    min_tokens: int = 0
    #: So many of the most probable tokens with each one of an answer, with natural log probabilities before
    #: sampling; 0 only the token's own, None nothing.
    logprobs: int | None = None
    #: The same for the tokens of the prompt.
    prompt_logprobs: int | None = None
    #: Milliseconds after which an answer ends at the next line; -1 never.
    t_max_predict_ms: int = -1
    #: Whether what the cache holds of the prompt is used.
    cache_prompt: bool = True
    #: Prompts of other salts share nothing in the cache with this one.
    cache_salt: str = ""
    #: A GBNF grammar for the answer.
    grammar: str | None = None
    #: A JSON schema for the answer, as a dict, as text or as a pydantic model's class.
    json_schema: Mapping[str, Any] | str | type[BaseModel] | None = None
    #: A regular expression for the whole answer, as Rust's `regex` has them.
    regex: str | None = None
    #: The answers to choose from.
    choice: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, fits, allowed in _FORMS:
            value = getattr(self, name)
            if not fits(value) and (value is not None or name == "stop"):
                raise invalid(name, f"{value!r:.60} is not allowed; allowed: {allowed}")
        if self.seed is not None:
            seed_value(self.seed)
        self._native(self._plain())

    def __repr__(self) -> str:
        changed = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"SamplingParams({', '.join(f'{name}={value!r}' for name, value in changed)})"

    def replace(self, **changes: Any) -> SamplingParams:
        """The same with other values of some fields.

        >>> SamplingParams(top_k=1).replace(max_tokens=8)
        SamplingParams(max_tokens=8, top_k=1)
        """
        return replace(self, **changes)

    def native(self, tokenizer: Tokenizer, **more: Any) -> NativeParams:
        """The engine's own parameters; `more` are fields of the engine. Raises InvalidRequestError."""
        values = {**self._plain(), **more}
        if self.logit_bias is not None:
            check_biases(self.logit_bias)
            values["logit_bias"] = logit_bias_pairs(self.logit_bias, tokenizer)
        return self._native(values)

    def _plain(self) -> dict[str, Any]:
        """Fields by the engine's names, without those that need the vocabulary."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_OWN, *_CONSTRAINTS)}
        values["n_predict"] = -1 if self.max_tokens is None else self.max_tokens
        # For a token's own log probability the engine is asked for one alternative.
        values["n_probs"] = 0 if self.logprobs is None else self.logprobs or 1
        values["stop"] = [self.stop] if isinstance(self.stop, str) else list(self.stop)
        if self.repetition_penalty is not None:
            values["repeat_penalty"] = self.repetition_penalty
        if self.seed is not None:
            values["seed"] = seed_value(self.seed)
        if self.samplers is not None:
            values["samplers"] = sampler_names(self.samplers)
        return values

    def _native(self, values: dict[str, Any]) -> NativeParams:
        names = dict(_ENGINE_NAMES)
        if self.repetition_penalty is not None:
            names["repeat_penalty"] = "repetition_penalty"
        try:
            return NativeParams(**values)
        except InvalidRequestError as error:
            name = names.get(error.param)
            if name is not None:
                error.args = (str(error).replace(error.param, name, 1),)
                error.param = name
            raise
