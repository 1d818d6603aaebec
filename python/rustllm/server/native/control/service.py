"""What clients do with answers that are being streamed to them."""

from __future__ import annotations

import asyncio
from typing import Any

from rustllm.invalid import shown
from rustllm.server.errors import ApiError
from rustllm.server.native.control.schemas import ControlRequest
from rustllm.server.state import Model, ServerState


async def control(state: ServerState, model: Model, request: ControlRequest) -> dict[str, Any]:
    """Ends the thought of a running completion, or says why that cannot be done. Raises ApiError."""
    if not request.id:
        raise ApiError(400, "id: it is missing; the id of a completion that is being streamed is needed", param="id")
    if request.action != "reasoning_end":
        message = f"action: {shown(request.action)} is unknown; allowed: 'reasoning_end'"
        raise ApiError(400, message, param="action")
    found = model.engine.named(request.id)
    if found is None:
        return _refused("no active completion for this id")
    request_id, running = found
    if running.name is None or not running.name.controls:
        return _refused("reasoning control not enabled for this completion")
    # The engine answers between two steps, for which the loop must not wait.
    await asyncio.get_running_loop().run_in_executor(state.files, model.native.end_thought, request_id)
    # As by llama-server also where no thought is being written: it has ended already.
    return {"success": True}


def _refused(message: str) -> dict[str, Any]:
    return {"success": False, "message": message}
