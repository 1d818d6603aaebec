"""What the server tells about itself."""

from __future__ import annotations

from typing import Any

from rustllm._rustllm import SamplingParams, __version__
from rustllm.model_file import file_type
from rustllm.server.generation_settings import public_settings_json
from rustllm.server.state import Model, ServerState

#: llama-server's clients show it; it must start with `b` and a number.
BUILD = f"b1-rustllm-{__version__}"


def props(state: ServerState, model: Model) -> dict[str, Any]:
    """llama-server's `/props`."""
    native, tokenizer = model.native, model.native.tokenizer

    def text(token: int | None) -> str:
        return "" if token is None else tokenizer.raw_text(token)

    body: dict[str, Any] = {
        "default_generation_settings": {
            "id": 0,
            "id_task": -1,
            "n_ctx": native.n_ctx,
            "speculative": False,
            "is_processing": False,
            "params": public_settings_json(SamplingParams(**state.request_defaults()).as_dict()),
        },
        "total_slots": native.n_slots,
        "model_alias": model.name,
        "model_ftype": file_type(native.metadata, native.info["types"]).described,
        "model_path": model.path,
        "modalities": {"vision": False, "audio": False, "video": False},
        "media_marker": "",
        "endpoint_slots": state.settings.slots,
        "endpoint_props": state.settings.props,
        "endpoint_metrics": state.settings.metrics,
        "webui": state.settings.webui,
        "ui": state.settings.webui,
        "ui_settings": state.settings.ui_settings,
        "cors_proxy_enabled": False,
        "chat_template": model.template.source,
        "chat_template_caps": model.template_caps,
        "bos_token": text(tokenizer.bos),
        "eos_token": text(tokenizer.eos),
        "build_info": BUILD,
        "is_sleeping": state.sleeping,
        "limits": state.settings.limits.as_dict(),
    }
    other = native.metadata.get("tokenizer.chat_template.tool_use")
    return {**body, "chat_template_tool_use": other} if isinstance(other, str) and other else body


def slots(model: Model) -> list[dict[str, Any]]:
    """llama-server's `/slots`; the settings are there while a slot is processing."""
    return [_slot(model, slot) for slot in model.native.slots()]


def _slot(model: Model, slot: dict[str, Any]) -> dict[str, Any]:
    busy, decoded = slot["is_processing"], slot["n_decoded"]
    body: dict[str, Any] = {
        "id": slot["id"],
        "id_task": slot["request_id"] if busy else -1,
        "n_ctx": slot["n_ctx"],
        "speculative": False,
        "is_processing": busy,
        "n_prompt_tokens": slot["n_tokens"],
        "n_prompt_tokens_processed": slot["n_processed"],
        "n_prompt_tokens_cache": slot["n_cached"],
    }
    remaining = -1
    running = model.engine.running(slot["request_id"]) if busy else None
    if running is not None and running.params is not None:
        params = running.params.as_dict()
        body["params"] = public_settings_json(params)
        if params["n_predict"] >= 0:
            remaining = max(0, params["n_predict"] - decoded)
    following = {
        "has_next_token": busy,
        "has_new_line": slot["has_new_line"],
        "n_remain": remaining,
        "n_decoded": decoded,
    }
    return {**body, "next_token": [following]}
