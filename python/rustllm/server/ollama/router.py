"""Ollama's endpoints below `/api`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import KnownModel, LoadedModel, State
from rustllm.server.disconnect import while_connected
from rustllm.server.errors import dumps
from rustllm.server.generation import Job
from rustllm.server.ollama import embedding, models, schemas, service
from rustllm.server.ollama.schemas import AnswerFields, ChatRequest, GenerateRequest, OllamaError, ShowRequest
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.state import Model, ServerState
from rustllm.server.written import answer

router = APIRouter(tags=["Ollama"])

_LINES = "application/x-ndjson"


def _answers(answer: type[schemas.Answer]) -> schema_docs.Responses:
    return schema_docs.answers(answer, answer, error=OllamaError, media_type=_LINES)


@router.post("/api/chat", openapi_extra=schema_docs.body(ChatRequest), responses=_answers(schemas.ChatAnswer))
async def chat(request: Request, state: State, model: LoadedModel) -> Response:
    """Answers a chat, as a stream of lines or whole."""
    fields = await read_body(request, state, ChatRequest)
    if not fields.messages:
        return _json(service.nothing(model, fields))
    return await _answer(request, state, model, fields, await service.chat_job(state, model, fields))


@router.post(
    "/api/generate", openapi_extra=schema_docs.body(GenerateRequest), responses=_answers(schemas.GenerateAnswer)
)
async def generate(request: Request, state: State, model: LoadedModel) -> Response:
    """Answers a prompt, as a stream of lines or whole."""
    fields = await read_body(request, state, GenerateRequest)
    if not fields.prompt:
        return _json(service.nothing(model, fields))
    return await _answer(request, state, model, fields, await service.generate_job(state, model, fields))


@router.post(
    "/api/embed",
    openapi_extra=schema_docs.body(schemas.EmbedRequest),
    responses=schema_docs.answers(schemas.EmbedAnswer, None, 501, error=OllamaError),
)
async def embed(request: Request, state: State, model: LoadedModel) -> Response:
    """The vectors of texts."""
    fields = await read_body(request, state, schemas.EmbedRequest)
    answer = await while_connected(request, embedding.embeddings(state, model, fields))
    return Response(answer, media_type="application/json")


@router.post(
    "/api/embeddings",
    openapi_extra=schema_docs.body(schemas.OlderEmbedRequest),
    responses=schema_docs.answers(schemas.OlderEmbedAnswer, None, 501, error=OllamaError),
)
async def older_embed(request: Request, state: State, model: LoadedModel) -> Response:
    """The vector of a text, in the older shape."""
    fields = await read_body(request, state, schemas.OlderEmbedRequest)
    answer = await while_connected(request, embedding.older_embedding(state, model, fields))
    return Response(answer, media_type="application/json")


@router.get("/api/tags", response_model=None, responses=schema_docs.reads(schemas.Tags, error=OllamaError))
async def tags(model: KnownModel) -> dict[str, Any]:
    """The one model that is served."""
    return {"models": [models.entry(model)]}


@router.get("/api/ps", response_model=None, responses=schema_docs.reads(schemas.Processes, error=OllamaError))
async def processes(state: State, model: KnownModel) -> dict[str, Any]:
    """The one model that is served, as one that runs; none while it sleeps."""
    return {"models": [] if state.sleeping else [models.running(model)]}


@router.post(
    "/api/show",
    openapi_extra=schema_docs.body(ShowRequest),
    responses=schema_docs.answers(schemas.Show, error=OllamaError),
)
async def show(request: Request, state: State, model: LoadedModel) -> Response:
    """The properties of the model."""
    await read_body(request, state, ShowRequest)
    return _json(models.show(state, model))


@router.get("/api/version", response_model=None, responses=schema_docs.reads(schemas.Version, error=OllamaError))
async def version() -> dict[str, Any]:
    """The version of Ollama whose API this is."""
    return {"version": models.API_VERSION}


async def _answer(request: Request, state: ServerState, model: Model, fields: AnswerFields, job: Job) -> Response:
    headers = schema_headers(job.grammar)
    lines = service.Lines(model, fields, job)
    if fields.stream is not False:
        parts = [(job, lines)]
        return await stream(
            request, model, parts, done=False, headers=headers, failed=service.failed, media_type=_LINES
        )
    return await answer(request, lines.whole(state), headers)


def _json(value: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(value), media_type="application/json", headers=headers)
