"""`POST /infill`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.native.completion import service as completion
from rustllm.server.native.completion.schemas import Completion, CompletionEvent
from rustllm.server.native.infill import service
from rustllm.server.native.infill.schemas import InfillRequest
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["llama-server"])


@router.post(
    "/infill",
    openapi_extra=schema_docs.body(InfillRequest),
    responses=schema_docs.answers(Completion, CompletionEvent, 501),
)
async def infill(request: Request, state: State, model: LoadedModel) -> Response:
    """Writes what stands between two texts, with models that were trained for it."""
    service.check_model(model)
    fields = await read_body(request, state, InfillRequest)
    job = await service.make_job(state, model, fields)
    headers = schema_headers(job.grammar)
    if fields.stream:
        return await stream(request, model, completion.stream_parts(model, fields, [job]), done=False, headers=headers)
    return await answer(request, completion.complete(state, model, fields, [job]), headers)
