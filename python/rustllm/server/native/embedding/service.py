"""From texts to llama-server's list of vectors."""

from __future__ import annotations

from rustllm.server.embedding import embed, require_embeddings, tokenize_inputs
from rustllm.server.errors import ApiError, dumps
from rustllm.server.native.embedding.schemas import EmbeddingRequest
from rustllm.server.state import Model, ServerState


async def embedding(state: ServerState, model: Model, request: EmbeddingRequest) -> bytes:
    """The answer's JSON."""
    require_embeddings(state, model)
    param, value = ("content", request.content) if request.input is None else ("input", request.input)
    if value is None:
        message = 'content: "input" or "content" must be provided: a text, token ids, or a list of either'
        raise ApiError(400, message, param="content")
    inputs = await tokenize_inputs(state, model, value, param)
    normalize = state.settings.embd_normalize if request.embd_normalize is None else request.embd_normalize
    found = await embed(state, model, inputs, param, normalize=normalize)
    # A long list of numbers takes a while to be written.
    size = sum(len(vector) for result in found for vector in result.vectors)
    return await state.off_loop(
        size,
        lambda: dumps([{"index": index, "embedding": result.floats()} for index, result in enumerate(found)]),
    )
