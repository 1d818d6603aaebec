"""`POST /v1/messages` and the count of its tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.anthropic import service
from rustllm.server.anthropic.schemas import (
    CountTokensRequest,
    Message,
    MessageError,
    MessageEvent,
    MessagesRequest,
    TokenCount,
)
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import dumps
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["Anthropic"])


@router.post(
    "/v1/messages",
    openapi_extra=schema_docs.body(MessagesRequest),
    responses=schema_docs.answers(Message, MessageEvent, error=MessageError),
)
async def messages(request: Request, state: State, model: LoadedModel) -> Response:
    """Answers a chat, whole or as a stream of events."""
    fields = await read_body(request, state, MessagesRequest)
    job = await service.message_job(state, model, fields)
    headers = schema_headers(job.grammar)
    if fields.stream:
        events = service.MessageEvents(model, fields, job)
        return await stream(request, model, [(job, events)], done=False, headers=headers, failed=service.failed)
    return await answer(request, service.message(state, model, fields, job), headers)


@router.post(
    "/v1/messages/count_tokens",
    openapi_extra=schema_docs.body(CountTokensRequest),
    responses=schema_docs.answers(TokenCount, error=MessageError),
)
async def count_tokens(request: Request, state: State, model: LoadedModel) -> Response:
    """How many tokens the prompt of a chat has."""
    fields = await read_body(request, state, CountTokensRequest)
    return Response(dumps(await service.tokens(state, model, fields)), media_type="application/json")
