"""`POST /slots/{id_slot}?action=save|restore|erase`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import ApiError
from rustllm.server.native.slots import service
from rustllm.server.native.slots.schemas import Erased, Restored, Saved, SlotFileRequest

router = APIRouter(tags=["llama-server"])


@router.post(
    "/slots/{id_slot}",
    response_model=None,
    openapi_extra={
        **schema_docs.body(SlotFileRequest, required=False),
        **schema_docs.parameters(
            path_id_slot="The slot's number.", action="save, restore or erase; the last needs no body."
        ),
    },
    responses=schema_docs.answers(Saved | Restored | Erased, None, 501),
)
async def act(request: Request, state: State, model: LoadedModel) -> dict[str, Any]:
    """Saves what the cache holds of a slot to a file, restores it, or erases it. Waits until the slot is free."""
    if state.settings.slot_save_path is None:
        raise ApiError(501, "This server does not support slots action. Start it with `--slot-save-path`")
    slot = service.check_slot(model, request.path_params["id_slot"])
    chosen = service.check_action(request.query_params.get("action"))
    if chosen == "erase":
        return await service.erase(state, model, slot)
    fields = await read_body(request, state, SlotFileRequest)
    if chosen == "save":
        return await service.save(state, model, slot, fields.filename)
    return await service.restore(state, model, slot, fields.filename)
