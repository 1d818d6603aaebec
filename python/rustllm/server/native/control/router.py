"""`POST /v1/chat/completions/control`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import KnownModel, State
from rustllm.server.native.control import service
from rustllm.server.native.control.schemas import Controlled, ControlRequest

router = APIRouter(tags=["llama-server"])


@router.post(
    "/v1/chat/completions/control",
    response_model=None,
    openapi_extra=schema_docs.body(ControlRequest),
    responses=schema_docs.answers(Controlled),
)
async def control(request: Request, state: State, model: KnownModel) -> dict[str, Any]:
    """Acts on a chat completion while it is streamed: ends its thought, so that the answer begins."""
    return await service.control(state, model, await read_body(request, state, ControlRequest))
