"""`POST /v1/chat/completions`, its alias, and the count of its input tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import dumps
from rustllm.server.native.completion.service import tokenize_prompt
from rustllm.server.openai.chat import service
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.openai.chat.schemas import ChatChunk, ChatCompletion, ChatRequest, InputTokens
from rustllm.server.sampling import schema_headers
from rustllm.server.sse import stream
from rustllm.server.written import answer

router = APIRouter(tags=["OpenAI"])

_ANSWERS = schema_docs.answers(ChatCompletion, ChatChunk, 501)


@router.post("/v1/chat/completions", openapi_extra=schema_docs.body(ChatRequest), responses=_ANSWERS)
@router.post("/chat/completions", openapi_extra=schema_docs.body(ChatRequest), responses=_ANSWERS)
async def chat_completions(request: Request, state: State, model: LoadedModel) -> Response:
    """Answers a chat, whole or as a stream of chunks."""
    fields = await read_body(request, state, ChatRequest)
    job = await service.chat_job(state, model, fields)
    headers = schema_headers(job.grammar)
    if fields.stream:
        events = service.ChatEvents(model, fields, job)
        return await stream(request, model, [(job, events)], done=True, headers=headers)
    return await answer(request, service.chat(state, model, fields, job), headers)


@router.post(
    "/v1/chat/completions/input_tokens",
    openapi_extra=schema_docs.body(ChatRequest),
    responses=schema_docs.answers(InputTokens),
)
@router.post(
    "/chat/completions/input_tokens",
    openapi_extra=schema_docs.body(ChatRequest),
    responses=schema_docs.answers(InputTokens),
)
async def input_tokens(request: Request, state: State, model: LoadedModel) -> Response:
    """How many tokens the prompt of a chat has."""
    fields = await read_body(request, state, ChatRequest)
    prompt = await chat_prompt(state, model, fields)
    tokens = await state.off_loop(len(prompt), lambda: tokenize_prompt(model, prompt))
    return Response(
        dumps({"object": "response.input_tokens", "input_tokens": len(tokens)}), media_type="application/json"
    )
