"""Vectors of texts in Ollama's two shapes, the newer one and the older."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from rustllm.server.embedding import Embedded, Input, embed, require_embeddings, tokenize_inputs
from rustllm.server.errors import ApiError, dumps
from rustllm.server.ollama.schemas import EmbedRequest, OlderEmbedRequest
from rustllm.server.state import Model, ServerState

#: The 2-norm, by which both shapes divide.
_NORM = 2


async def embeddings(state: ServerState, model: Model, request: EmbedRequest) -> bytes:
    """The answer of `/api/embed`."""
    began = perf_counter_ns()
    given = request.input
    found = await _vectors(state, model, given, "input", request.dimensions) if given else []
    head: dict[str, Any] = {
        "model": request.model or model.name,
        "total_duration": perf_counter_ns() - began,
        "load_duration": 0,
        "prompt_eval_count": sum(result.n_tokens for result in found),
    }
    return await _written(state, found, lambda: {**head, "embeddings": [result.floats()[0] for result in found]})


async def older_embedding(state: ServerState, model: Model, request: OlderEmbedRequest) -> bytes:
    """The answer of `/api/embeddings`."""
    if not request.prompt:
        return dumps({"embedding": []})
    found = await _vectors(state, model, request.prompt, "prompt", None)
    return await _written(state, found, lambda: {"embedding": found[0].floats()[0]})


async def _vectors(
    state: ServerState, model: Model, texts: Input, param: str, dimensions: int | None
) -> list[Embedded]:
    require_embeddings(state, model)
    if model.native.pooling in ("none", "rank"):
        message = f"the pooling {model.native.pooling!r} gives no vector for a text; start the server with another"
        raise ApiError(400, message)
    inputs = await tokenize_inputs(state, model, texts, param)
    return await embed(state, model, inputs, param, normalize=_NORM, dimensions=dimensions)


async def _written(state: ServerState, found: list[Embedded], body: Callable[[], dict[str, Any]]) -> bytes:
    # A long list of numbers takes a while to be written.
    size = sum(len(vector) for result in found for vector in result.vectors)
    return await state.off_loop(size, lambda: dumps(body()))
