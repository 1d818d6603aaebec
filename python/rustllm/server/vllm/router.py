"""What vLLM has beside OpenAI's endpoints; its fields of requests are in `constraints.py` and `sampling.py`."""

from __future__ import annotations

from fastapi import APIRouter

from rustllm._rustllm import __version__
from rustllm.server import schema_docs
from rustllm.server.vllm.schemas import Version

router = APIRouter(tags=["vLLM"])


@router.get("/version", response_model=None, responses=schema_docs.reads(Version))
async def version() -> dict[str, str]:
    """The version of rustllm."""
    return {"version": __version__}
