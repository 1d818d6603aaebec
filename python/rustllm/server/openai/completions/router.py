"""`POST /v1/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.openai.completions import service
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest, TextCompletion
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["OpenAI"])

_ANSWERS = schema_docs.answers(TextCompletion, TextCompletion)


@router.post("/v1/completions", openapi_extra=schema_docs.body(OpenAICompletionRequest), responses=_ANSWERS)
async def completions(request: Request, state: State, model: LoadedModel) -> Response:
    """Continues prompts, whole or as a stream of chunks."""
    fields = await read_body(request, state, OpenAICompletionRequest)
    jobs = await service.completion_jobs(state, model, fields)
    headers = schema_headers(jobs[0].grammar)
    if fields.stream:
        return await stream(request, model, service.stream_parts(model, fields, jobs), done=True, headers=headers)
    return await answer(request, service.complete(state, model, fields, jobs), headers)
