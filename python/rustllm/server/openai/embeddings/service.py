"""From texts to OpenAI's answer."""

from __future__ import annotations

import base64
from typing import Any

from rustllm.server.embedding import Embedded, embed, require_embeddings, tokenize_inputs
from rustllm.server.errors import ApiError, dumps
from rustllm.server.openai.embeddings.schemas import EmbeddingsRequest
from rustllm.server.state import Model, ServerState


async def embeddings(state: ServerState, model: Model, request: EmbeddingsRequest) -> bytes:
    """The answer's JSON."""
    require_embeddings(state, model)
    pooling = model.native.pooling
    if pooling in ("none", "rank"):
        reason = "gives a vector for each token" if pooling == "none" else "gives scores"
        message = f"Pooling type '{pooling}' is not OAI compatible: it {reason}. Please use a different pooling type"
        raise ApiError(400, message)
    inputs = await tokenize_inputs(state, model, request.input, "input")
    normalize = state.settings.embd_normalize if request.embd_normalize is None else request.embd_normalize
    found = await embed(state, model, inputs, "input", normalize=normalize, dimensions=request.dimensions)
    # A long list of numbers takes a while to be written.
    size = sum(len(vector) for result in found for vector in result.vectors)
    return await state.off_loop(size, lambda: dumps(_body(model, request, found)))


def _body(model: Model, request: EmbeddingsRequest, found: list[Embedded]) -> dict[str, Any]:
    total = sum(result.n_tokens for result in found)
    return {
        "model": request.model or model.name,
        "object": "list",
        "usage": {"prompt_tokens": total, "total_tokens": total},
        "data": [_entry(request, index, result) for index, result in enumerate(found)],
    }


def _entry(request: EmbeddingsRequest, index: int, result: Embedded) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": index, "object": "embedding"}
    if request.encoding_format == "base64":
        text = base64.b64encode(result.vectors[0]).decode("ascii")
        return {"embedding": text, **entry, "encoding_format": "base64"}
    return {"embedding": result.floats()[0], **entry}
