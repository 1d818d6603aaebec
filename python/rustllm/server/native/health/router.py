"""`GET /health`: whether the model is loaded and its engine alive. Public, without an API key."""

from __future__ import annotations

from fastapi import APIRouter

from rustllm.server.deps import LoadedModel

router = APIRouter(tags=["llama-server"])


@router.get("/health")
@router.get("/v1/health")
async def health(model: LoadedModel) -> dict[str, str]:
    """200 when requests are served, 503 while loading, draining or after a failure."""
    return {"status": "ok"}
