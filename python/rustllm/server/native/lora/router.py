"""`GET` and `POST /lora-adapters`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import KnownModel, State
from rustllm.server.native.lora import service
from rustllm.server.native.lora.schemas import Adapter, LoraScales
from rustllm.server.native.props.schemas import Success

router = APIRouter(tags=["llama-server"])


@router.get("/lora-adapters", response_model=None, responses=schema_docs.reads(list[Adapter]))
async def adapters(state: State, model: KnownModel) -> list[dict[str, Any]]:
    """The loaded adapters, with their weights in requests that name none."""
    return service.adapters(state, model)


@router.post(
    "/lora-adapters",
    response_model=None,
    openapi_extra=schema_docs.body(LoraScales),
    responses=schema_docs.answers(Success),
)
async def change(request: Request, state: State, model: KnownModel) -> dict[str, Any]:
    """Sets these weights, for requests from now on."""
    service.change(state, await read_body(request, state, LoraScales))
    return {"success": True}
