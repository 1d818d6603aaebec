"""The settings of a generation, as llama-server reports them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from rustllm.chat.plan import Plan
from rustllm.chat.syntax.calls import Marker
from rustllm.server.answers import Shape
from rustllm.server.sampling import SamplingFields

#: The engine's settings that llama-server does not report.
_OWN = ("n", "cache_prompt", "cache_salt", "t_max_predict_ms", "return_progress", "id_slot", "stop_token_ids",
        "include_stop_str_in_output", "min_tokens", "prompt_logprobs")  # fmt: skip

#: What llama-server reports of features that are not used here, with the values that say so.
_UNUSED: dict[str, Any] = {
    "grammar_lazy": False,
    "grammar_triggers": [],
    "chat_format": "Content-only",
    "reasoning_format": "none",
    "reasoning_in_content": False,
    "generation_prompt": "",
    "speculative.n_max": 0,
    "speculative.n_min": 0,
    "speculative.p_min": 0.0,
    "speculative.type": "none",
    "speculative.types": "none",
    "backend_sampling": False,
}

#: JSON has no infinity; this is the lowest number of llama-server's floats.
_LOWEST = -3.4028234663852886e38


#: What a client asked for that is its own affair: `/slots` and `/props` do not show it.
_PRIVATE = ("dry_sequence_breakers", "stop", "logit_bias", "grammar", "grammar_triggers", "preserved_tokens")


def public_settings_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """`settings_json` for those who need not be the request's sender."""
    return {name: value for name, value in settings_json(values).items() if name not in _PRIVATE}


def settings_json(
    values: Mapping[str, Any], *, grammar: str = "", stream: bool = False, timings_per_token: bool = False
) -> dict[str, Any]:
    """llama-server's `generation_settings`, from all of the engine's by name."""
    out = {name: value for name, value in values.items() if name not in _OWN}
    out["max_tokens"] = out["n_predict"]
    # Of several weights for one adapter the last counts.
    out["lora"] = [{"id": id_, "scale": scale} for id_, scale in sorted(dict(out["lora"]).items())]
    out["logit_bias"] = [{"bias": max(bias, _LOWEST), "token": token} for token, bias in out["logit_bias"]]
    return {**out, "grammar": grammar, "stream": stream, "timings_per_token": timings_per_token, **_UNUSED}


def reading_json(plan: Plan | None, triggers: Sequence[Marker]) -> dict[str, Any]:
    """The settings that say how a chat's answer is constrained and read."""
    if plan is None:
        return {}
    return {
        "grammar_lazy": bool(triggers),
        "grammar_triggers": [_trigger_json(*marker) for marker in triggers],
        "chat_format": plan.format.name if plan.reads else _UNUSED["chat_format"],
        "reasoning_format": plan.reasoning,
    }


def _trigger_json(words: Sequence[str], at_start: bool) -> dict[str, Any]:
    """A marker by llama-server's kinds of triggers: 1 is a word, 2 a regular expression."""
    if len(words) == 1 and not at_start:
        return {"type": 1, "value": words[0]}
    start = r"^\s*" if at_start else ""
    return {"type": 2, "value": start + r"\s*".join(map(re.escape, words))}


def _asked(name: str) -> Any:
    """A field that reports the request's own of that name."""
    return Field(description=SamplingFields.model_fields[name].description)


def _unused(text: str, **options: Any) -> Any:
    """A field that is reported for llama-server's clients only."""
    return Field(description=f"{text}; not used here.", **options)


class Bias(Shape):
    """A bias on a token."""

    token: int = Field(description="The token id.")
    bias: float = Field(description="What is added to its logit.")


class AdapterScale(Shape):
    """An adapter with its weight."""

    id: int = Field(description="The adapter's number.")
    scale: float = Field(description="Its weight; 0 is off.")


class Trigger(Shape):
    """A text behind which a lazy grammar starts."""

    type: int = Field(description="1 is a word, 2 a regular expression.")
    value: str = Field(description="The word or the expression.")


class PublicSettings(Shape):
    """The settings that an answer is made with, without the texts and tokens of its request."""

    seed: int = _asked("seed")
    temperature: float = _asked("temperature")
    dynatemp_range: float = _asked("dynatemp_range")
    dynatemp_exponent: float = _asked("dynatemp_exponent")
    top_k: int = _asked("top_k")
    top_p: float = _asked("top_p")
    min_p: float = _asked("min_p")
    top_n_sigma: float = _asked("top_n_sigma")
    xtc_probability: float = _asked("xtc_probability")
    xtc_threshold: float = _asked("xtc_threshold")
    typical_p: float = _asked("typical_p")
    adaptive_target: float = _asked("adaptive_target")
    adaptive_decay: float = _asked("adaptive_decay")
    repeat_last_n: int = _asked("repeat_last_n")
    repeat_penalty: float = _asked("repeat_penalty")
    presence_penalty: float = _asked("presence_penalty")
    frequency_penalty: float = _asked("frequency_penalty")
    dry_multiplier: float = _asked("dry_multiplier")
    dry_base: float = _asked("dry_base")
    dry_allowed_length: int = _asked("dry_allowed_length")
    dry_penalty_last_n: int = _asked("dry_penalty_last_n")
    mirostat: int = _asked("mirostat")
    mirostat_tau: float = _asked("mirostat_tau")
    mirostat_eta: float = _asked("mirostat_eta")
    max_tokens: int = _asked("max_tokens")
    n_predict: int = _asked("n_predict")
    n_keep: int = _asked("n_keep")
    n_discard: int = _asked("n_discard")
    ignore_eos: bool = _asked("ignore_eos")
    stream: bool = _asked("stream")
    n_probs: int = _asked("n_probs")
    min_keep: int = _asked("min_keep")
    grammar_lazy: bool = Field(description="Whether the grammar waits for a trigger.")
    chat_format: str = Field(description="How tool calls are read from the text.")
    reasoning_format: str = _asked("reasoning_format")
    reasoning_in_content: bool = Field(description="Whether the stream keeps thoughts in the text.")
    generation_prompt: str = Field(description="With `verbose`: what the template opened the answer with.")
    samplers: list[str] = Field(description="The stages of the sampler chain, in order.")
    speculative_n_max: int = _unused("Most tokens of a draft", alias="speculative.n_max")
    speculative_n_min: int = _unused("Fewest tokens of a draft", alias="speculative.n_min")
    speculative_p_min: float = _unused("Least probability of a draft's token", alias="speculative.p_min")
    speculative_type: str = _unused("How drafts are made", alias="speculative.type")
    speculative_types: str = _unused("How drafts are made, by the newer name", alias="speculative.types")
    timings_per_token: bool = _asked("timings_per_token")
    post_sampling_probs: bool = _asked("post_sampling_probs")
    backend_sampling: bool = _unused("Whether the device samples")
    lora: list[AdapterScale] = Field(description="The adapters that it was made with.")


class GenerationSettings(PublicSettings):
    """The settings that an answer was made with."""

    dry_sequence_breakers: list[str] = _asked("dry_sequence_breakers")
    stop: list[str] = _asked("stop")
    logit_bias: list[Bias] = Field(description="Biases by token id.")
    grammar: str = _asked("grammar")
    grammar_triggers: list[Trigger] = Field(description="What a lazy grammar waits for; any of them starts it.")
    preserved_tokens: list[int] = Field(description="Special tokens that reading the answer needs to see.")
