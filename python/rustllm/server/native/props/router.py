"""`GET /props` and `GET /slots`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import ApiError
from rustllm.server.native.props import service

router = APIRouter(tags=["llama-server"])


@router.get("/props")
async def props(state: State, model: LoadedModel) -> dict[str, Any]:
    """The model, its template and the default settings."""
    return service.props(state, model)


@router.get("/slots")
async def slots(state: State, model: LoadedModel) -> list[dict[str, Any]]:
    """What each slot is doing."""
    if not state.settings.slots:
        raise ApiError(501, "This server does not support slots endpoint. Start it with `--slots`")
    return service.slots(model)
