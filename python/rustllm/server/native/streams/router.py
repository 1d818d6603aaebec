"""`GET` and `DELETE /v1/stream`, `POST /v1/streams/lookup`: streams whose connection broke."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import State
from rustllm.server.native.streams import service
from rustllm.server.native.streams.schemas import LookupRequest, StreamState
from rustllm.server.pings import ping_interval
from rustllm.server.resumable import Replay

router = APIRouter(tags=["llama-server"])

_NAME = "The name that the stream was given in the header `X-Conversation-Id`."


@router.get(
    "/v1/stream",
    response_class=Response,
    openapi_extra=schema_docs.parameters(
        conv_id=_NAME, **{"from": "Bytes of the stream that are there already; 0 by default."}
    ),
    responses={
        **schema_docs.reads(str, 400, 404),
        200: {
            "description": "The rest of the stream, what is still to come included.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def resume(request: Request, state: State) -> Response:
    """Goes on with a stream whose connection broke. Bytes are counted as the body had them."""
    query = request.query_params
    session, offset = service.stream_at(state.streams, query.get("conv_id"), query.get("from"))
    silence = ping_interval(request.scope, session.headers["Content-Type"])
    return Replay(request, session, offset, silence)


@router.delete(
    "/v1/stream",
    status_code=204,
    response_class=Response,
    openapi_extra=schema_docs.parameters(conv_id=_NAME),
    responses={
        **schema_docs.errors(400, 401, 503),
        204: {"description": "It is stopped and forgotten, or there was none."},
    },
)
async def stop(request: Request, state: State) -> Response:
    """Stops what makes a stream, and forgets it."""
    state.streams.stop(service.required_name(request.query_params.get("conv_id")))
    return Response(status_code=204)


@router.post(
    "/v1/streams/lookup",
    response_model=None,
    openapi_extra=schema_docs.body(LookupRequest),
    responses=schema_docs.answers(list[StreamState]),
)
async def lookup(request: Request, state: State) -> list[dict[str, Any]]:
    """Which of these streams there are, and how far they are."""
    return service.lookup(state.streams, await read_body(request, state, LookupRequest))
