"""`POST /v1/responses`, its alias, and the count of its input tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import dumps
from rustllm.server.openai.chat.schemas import InputTokens
from rustllm.server.openai.responses import schemas, service
from rustllm.server.openai.responses.schemas import ResponsesRequest
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["OpenAI"])

_BODY = schema_docs.body(ResponsesRequest)
_ANSWERS = schema_docs.answers(schemas.Response, schemas.ResponseEvent)


@router.post("/v1/responses", openapi_extra=_BODY, responses=_ANSWERS)
@router.post("/responses", openapi_extra=_BODY, responses=_ANSWERS)
async def responses(request: Request, state: State, model: LoadedModel) -> Response:
    """Answers an input, whole or as a stream of events."""
    fields = await read_body(request, state, ResponsesRequest)
    job = await service.response_job(state, model, fields)
    headers = schema_headers(job.grammar)
    if fields.stream:
        events = service.ResponseEvents(model, fields, job)
        return await stream(request, model, [(job, events)], done=False, headers=headers, failed=events.failed)
    return await answer(request, service.response(state, model, fields, job), headers)


@router.post("/v1/responses/input_tokens", openapi_extra=_BODY, responses=schema_docs.answers(InputTokens))
@router.post("/responses/input_tokens", openapi_extra=_BODY, responses=schema_docs.answers(InputTokens))
async def input_tokens(request: Request, state: State, model: LoadedModel) -> Response:
    """How many tokens the prompt of an input has."""
    fields = await read_body(request, state, ResponsesRequest)
    return Response(dumps(await service.input_tokens(state, model, fields)), media_type="application/json")
