"""The adapters of the server, and their weights in requests that name none."""

from __future__ import annotations

from typing import Any

from rustllm._rustllm import InvalidRequestError, SamplingParams
from rustllm.server.errors import ApiError
from rustllm.server.native.lora.schemas import LoraScales
from rustllm.server.state import Model, ServerState


def adapters(state: ServerState, model: Model) -> list[dict[str, Any]]:
    """llama-server's list."""
    scales = state.adapter_scales
    return [
        {"id": id_, "path": str(state.settings.lora[id_][0]), "scale": scales[id_]}
        | {name: adapter[name] for name in ("task_name", "prompt_prefix")}
        for id_, adapter in enumerate(model.native.adapters)
    ]


def change(state: ServerState, asked: LoraScales) -> None:
    """Sets the weights for requests from now on. Raises ApiError, which changes nothing."""
    pairs = [(one.id, one.scale) for one in asked.root]
    try:
        # The engine judges the weights. Numbers it judges with a request, and it may be asleep.
        SamplingParams(lora=pairs)
    except InvalidRequestError as error:
        # The body is the list itself.
        param = error.param.removeprefix("lora") or "body"
        raise ApiError(400, param + str(error).removeprefix(error.param), param=param) from None
    scales = [0.0] * len(state.adapter_scales)
    for index, (id_, scale) in enumerate(pairs):
        if not 0 <= id_ < len(scales):
            allowed = f"allowed: 0 to {len(scales) - 1}" if scales else "none is loaded (--lora)"
            param = f"[{index}].id"
            raise ApiError(400, f"{param}: {id_} is not an adapter; {allowed}", param=param)
        scales[id_] = scale
    state.adapter_scales = scales
