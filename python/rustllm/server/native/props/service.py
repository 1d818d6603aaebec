"""What the server tells about itself."""

from __future__ import annotations

from typing import Any

from rustllm._rustllm import SamplingParams, __version__
from rustllm.server.state import Model, ServerState

#: llama-server's clients show it; it must start with `b` and a number.
BUILD = f"b1-rustllm-{__version__}"


def props(state: ServerState, model: Model) -> dict[str, Any]:
    """llama-server's `/props`."""
    native, tokenizer = model.native, model.native.tokenizer

    def text(token: int | None) -> str:
        return "" if token is None else tokenizer.raw_text(token)

    return {
        "default_generation_settings": {
            "id": 0,
            "id_task": -1,
            "n_ctx": native.n_ctx,
            "speculative": False,
            "is_processing": False,
            "params": SamplingParams(**state.settings.sampling_defaults).as_dict() | {"logit_bias": []},
        },
        "total_slots": native.n_slots,
        "model_alias": model.name,
        "model_path": model.path,
        "modalities": {"vision": False, "audio": False},
        "endpoint_slots": state.settings.slots,
        "endpoint_props": False,
        "endpoint_metrics": False,
        "webui": False,
        "chat_template": model.template.source,
        "bos_token": text(tokenizer.bos),
        "eos_token": text(tokenizer.eos),
        "build_info": BUILD,
        "is_sleeping": False,
    }


def slots(model: Model) -> list[dict[str, Any]]:
    """llama-server's `/slots`."""
    return [
        {
            "id": slot["id"],
            "id_task": -1 if slot["request_id"] is None else slot["request_id"],
            "n_ctx": slot["n_ctx"],
            "speculative": False,
            "is_processing": slot["is_processing"],
            "n_prompt_tokens": slot["n_prompt"],
            "next_token": [{"has_next_token": slot["is_processing"], "n_decoded": slot["n_decoded"]}],
        }
        for slot in model.native.slots()
    ]
