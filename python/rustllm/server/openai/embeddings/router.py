"""`POST /v1/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.disconnect import while_connected
from rustllm.server.openai.embeddings import service
from rustllm.server.openai.embeddings.schemas import Embeddings, EmbeddingsRequest

router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/embeddings",
    openapi_extra=schema_docs.body(EmbeddingsRequest),
    responses=schema_docs.answers(Embeddings, None, 501),
)
async def embeddings(request: Request, state: State, model: LoadedModel) -> Response:
    """The vectors of texts."""
    fields = await read_body(request, state, EmbeddingsRequest)
    answer = await while_connected(request, service.embeddings(state, model, fields))
    return Response(answer, media_type="application/json")
