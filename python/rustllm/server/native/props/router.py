"""`/props` and `/slots`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from rustllm.server import schema_docs
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import ApiError
from rustllm.server.native.props import service
from rustllm.server.native.props.schemas import Props, Slot, Success

router = APIRouter(tags=["llama-server"])


@router.get("/props", response_model=None, responses=schema_docs.reads(Props))
async def props(state: State, model: LoadedModel) -> dict[str, Any]:
    """The model, its template and the default settings."""
    return service.props(state, model)


@router.post("/props", response_model=None, responses=schema_docs.reads(Success, 501))
async def change_props(state: State, model: LoadedModel) -> dict[str, Any]:
    """Changes nothing: llama-server has no property that could be changed either."""
    if not state.settings.props:
        raise ApiError(501, "This server does not support changing global properties. Start it with `--props`")
    return {"success": True}


@router.get("/slots", response_model=None, responses=schema_docs.reads(list[Slot], 501))
async def slots(state: State, model: LoadedModel) -> list[dict[str, Any]]:
    """What each slot is doing."""
    if not state.settings.slots:
        raise ApiError(501, "This server does not support slots endpoint. Start it with `--slots`")
    return service.slots(model)
