"""`GET /metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from rustllm.server import schema_docs
from rustllm.server.deps import State
from rustllm.server.errors import ApiError

router = APIRouter(tags=["llama-server"])

#: The format that every collector reads; names need no escaping.
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **schema_docs.reads(str, 501),
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(state: State) -> Response:
    """Counts, rates and latencies for Prometheus, by llama-server's names and by vLLM's. It never wakes a model."""
    if state.metrics is None:
        raise ApiError(501, "This server does not support metrics endpoint. Start it with `--metrics`")
    headers = {"Process-Start-Time-Unix": str(int(state.started)), "Content-Type": _CONTENT_TYPE}
    return Response(state.metrics.text(), headers=headers)
