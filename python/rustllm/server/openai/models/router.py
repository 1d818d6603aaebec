"""`GET /v1/models` and `/models`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from rustllm.server.deps import LoadedModel

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
@router.get("/models")
async def models(model: LoadedModel) -> dict[str, Any]:
    """The one model that is served, in OpenAI's and in Ollama's shape."""
    info = model.native.info
    meta = {name: info[name] for name in ("n_vocab", "n_ctx_train", "n_embd", "n_params", "size")}
    return {
        "object": "list",
        "data": [
            {
                "id": model.name,
                "object": "model",
                "created": model.created,
                "owned_by": "rustllm",
                "meta": {"vocab_type": 1 if model.native.tokenizer.algorithm == "spm" else 2, **meta},
            }
        ],
        "models": [
            {
                "name": model.name,
                "model": model.name,
                "modified_at": "",
                "size": str(info["size"]),
                "digest": "",
                "type": "model",
                "description": "",
                "tags": [""],
                "capabilities": ["completion"],
                "parameters": "",
                "details": {"format": "gguf", "family": info["architecture"], "parent_model": ""},
            }
        ],
    }
