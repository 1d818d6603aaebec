"""The settings of a generation, as llama-server reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The engine's settings that llama-server does not report.
_OWN = ("n", "cache_prompt", "t_max_predict_ms", "return_progress", "id_slot")

#: What llama-server reports of features that are not used here, with the values that say so.
_UNUSED: dict[str, Any] = {
    "n_discard": 0,
    "grammar_lazy": False,
    "grammar_triggers": [],
    "preserved_tokens": [],
    "chat_format": "Content-only",
    "reasoning_format": "none",
    "reasoning_in_content": False,
    "generation_prompt": "",
    "speculative.n_max": 0,
    "speculative.n_min": 0,
    "speculative.p_min": 0.0,
    "speculative.type": "none",
    "backend_sampling": False,
    "lora": [],
}

#: JSON has no infinity; this is the lowest number of llama-server's floats.
_LOWEST = -3.4028234663852886e38


def settings_json(
    values: Mapping[str, Any], *, grammar: str = "", stream: bool = False, timings_per_token: bool = False
) -> dict[str, Any]:
    """llama-server's `generation_settings`, from all of the engine's by name."""
    out = {name: value for name, value in values.items() if name not in _OWN}
    out["max_tokens"] = out["n_predict"]
    out["logit_bias"] = [{"bias": max(bias, _LOWEST), "token": token} for token, bias in out["logit_bias"]]
    return {**out, "grammar": grammar, "stream": stream, "timings_per_token": timings_per_token, **_UNUSED}
