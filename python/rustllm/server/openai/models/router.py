"""`GET /v1/models` and `/models`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rustllm.model_file import file_type, short_count
from rustllm.server import schema_docs
from rustllm.server.deps import KnownModel, State
from rustllm.server.openai.models.anthropic import asks_for_anthropic, model_page
from rustllm.server.openai.models.schemas import Models

router = APIRouter(tags=["OpenAI"])

#: llama.cpp's numbers.
_VOCAB_TYPES = {"spm": 1, "bpe": 2, "wpm": 3}


@router.get("/v1/models", response_model=None, responses=schema_docs.reads(Models))
@router.get("/models", response_model=None, responses=schema_docs.reads(Models))
async def models(request: Request, model: KnownModel, state: State) -> dict[str, Any]:
    """The one model that is served, in OpenAI's and in Ollama's shape, or in Anthropic's for its clients."""
    if asks_for_anthropic(request):
        return model_page([(model.name, model.created)])
    info = model.native.info
    ftype = file_type(model.native.metadata, model.native.info["types"])
    meta = {name: info[name] for name in ("n_vocab", "n_ctx_train", "n_embd", "n_params", "size")}
    return {
        "object": "list",
        "data": [
            {
                "id": model.name,
                "aliases": list(state.settings.aliases) or [model.name],
                "tags": list(state.settings.tags),
                "object": "model",
                "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
                "created": model.created,
                "owned_by": "rustllm",
                "meta": {
                    "vocab_type": _VOCAB_TYPES[model.native.tokenizer.algorithm],
                    "n_ctx": model.native.n_ctx,
                    **meta,
                    "ftype": ftype.described,
                },
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
                "capabilities": ["completion" if info["generates"] else "embedding"],
                "parameters": "",
                "details": {
                    "parent_model": "",
                    "format": "gguf",
                    "family": info["architecture"],
                    "families": [info["architecture"]],
                    "parameter_size": short_count(info["n_params"]),
                    "quantization_level": ftype.name,
                },
            }
        ],
    }
