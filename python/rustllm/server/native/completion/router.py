"""`POST /completion` and `/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.native.completion import service
from rustllm.server.native.completion.schemas import Completion, CompletionEvent, CompletionRequest
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["llama-server"])

_ANSWERS = schema_docs.answers(Completion | list[Completion], CompletionEvent)


@router.post("/completion", openapi_extra=schema_docs.body(CompletionRequest), responses=_ANSWERS)
@router.post("/completions", openapi_extra=schema_docs.body(CompletionRequest), responses=_ANSWERS)
async def completion(request: Request, state: State, model: LoadedModel) -> Response:
    """Continues a prompt; llama-server's own fields in and out."""
    fields = await read_body(request, state, CompletionRequest)
    jobs = [await service.make_job(state, model, prompt, fields) for prompt in service.split_prompts(fields.prompt)]
    headers = schema_headers(jobs[0].grammar)
    if fields.stream:
        return await stream(request, model, service.stream_parts(model, fields, jobs), done=False, headers=headers)
    return await answer(request, service.complete(state, model, fields, jobs), headers)
