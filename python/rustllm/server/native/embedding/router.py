"""`POST /embedding` and `/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.disconnect import while_connected
from rustllm.server.native.embedding import service
from rustllm.server.native.embedding.schemas import EmbeddingRequest, NativeEmbedding

router = APIRouter(tags=["llama-server"])

_ANSWERS = schema_docs.answers(list[NativeEmbedding], None, 501)


@router.post("/embedding", openapi_extra=schema_docs.body(EmbeddingRequest), responses=_ANSWERS)
@router.post("/embeddings", openapi_extra=schema_docs.body(EmbeddingRequest), responses=_ANSWERS)
async def embedding(request: Request, state: State, model: LoadedModel) -> Response:
    """The vectors of texts, or of their tokens without pooling; not OpenAI's shape, which has /v1 before it."""
    fields = await read_body(request, state, EmbeddingRequest)
    answer = await while_connected(request, service.embedding(state, model, fields))
    return Response(answer, media_type="application/json")
