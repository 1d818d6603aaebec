"""`/props` and `/slots`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rustllm.server import schema_docs
from rustllm.server.deps import KnownModel, LoadedModel, State
from rustllm.server.errors import ApiError
from rustllm.server.native.props import service
from rustllm.server.native.props.schemas import Props, Slot, Success

router = APIRouter(tags=["llama-server"])


@router.get("/props", response_model=None, responses=schema_docs.reads(Props))
async def props(state: State, model: KnownModel) -> dict[str, Any]:
    """The model, its template and the default settings."""
    return service.props(state, model)


@router.post("/props", response_model=None, responses=schema_docs.reads(Success, 501))
async def change_props(state: State, model: KnownModel) -> dict[str, Any]:
    """Changes nothing: llama-server has no property that could be changed either."""
    if not state.settings.props:
        raise ApiError(501, "This server does not support changing global properties. Start it with `--props`")
    return {"success": True}


@router.get(
    "/slots",
    response_model=None,
    openapi_extra=schema_docs.parameters(fail_on_no_slot="1 answers 503 while no slot is free."),
    responses=schema_docs.reads(list[Slot], 501),
)
async def slots(request: Request, state: State, model: LoadedModel) -> list[dict[str, Any]]:
    """What each slot is doing."""
    if not state.settings.slots:
        raise ApiError(501, "This server does not support slots endpoint. Start it with `--slots`")
    found = service.slots(model)
    wanted = request.query_params.get("fail_on_no_slot", "0")
    if wanted not in ("", "0") and all(slot["is_processing"] for slot in found):
        raise ApiError(503, "no slot available")
    return found
