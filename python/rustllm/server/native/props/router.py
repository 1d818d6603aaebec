"""`/props` and `/slots`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

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


@router.get("/slots", response_model=None, responses=schema_docs.reads(list[Slot], 501))
async def slots(
    state: State,
    model: LoadedModel,
    fail_on_no_slot: Annotated[str | None, Query(description="1 answers 503 while no slot is free.")] = None,
) -> list[dict[str, Any]]:
    """What each slot is doing."""
    if not state.settings.slots:
        raise ApiError(501, "This server does not support slots endpoint. Start it with `--slots`")
    found = service.slots(model)
    if fail_on_no_slot not in (None, "", "0") and all(slot["is_processing"] for slot in found):
        raise ApiError(503, "no slot available")
    return found
