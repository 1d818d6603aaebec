"""`GET /health`: whether the model is loaded and its engine alive. Public, without an API key."""

from __future__ import annotations

from fastapi import APIRouter

from rustllm.server import schema_docs
from rustllm.server.deps import KnownModel
from rustllm.server.native.health.schemas import Status

router = APIRouter(tags=["llama-server"])


@router.get("/health", response_model=None, responses=schema_docs.reads(Status))
@router.get("/v1/health", response_model=None, responses=schema_docs.reads(Status))
async def health(model: KnownModel) -> dict[str, str]:
    """200 when requests are served, 503 while loading, draining or after a failure."""
    return {"status": "ok"}
