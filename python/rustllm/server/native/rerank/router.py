"""`POST /rerank`, `/v1/rerank`, `/reranking` and `/v1/reranking`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.disconnect import while_connected
from rustllm.server.errors import dumps
from rustllm.server.native.rerank import service
from rustllm.server.native.rerank.schemas import RankedText, Ranking, RerankRequest

router = APIRouter(tags=["llama-server"])

_ANSWERS = schema_docs.answers(Ranking | list[RankedText], None, 501)


@router.post("/rerank", openapi_extra=schema_docs.body(RerankRequest), responses=_ANSWERS)
@router.post("/v1/rerank", openapi_extra=schema_docs.body(RerankRequest), responses=_ANSWERS)
@router.post("/reranking", openapi_extra=schema_docs.body(RerankRequest), responses=_ANSWERS)
@router.post("/v1/reranking", openapi_extra=schema_docs.body(RerankRequest), responses=_ANSWERS)
async def rerank(request: Request, state: State, model: LoadedModel) -> Response:
    """Documents in the order of how well they fit a query."""
    fields = await read_body(request, state, RerankRequest)
    answer = await while_connected(request, service.rerank(state, model, fields))
    return Response(dumps(answer), media_type="application/json")
