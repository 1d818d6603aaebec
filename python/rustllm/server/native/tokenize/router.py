"""`POST /tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rustllm.server import schema_docs
from rustllm.server.body import read_body
from rustllm.server.deps import LoadedModel, State
from rustllm.server.errors import dumps
from rustllm.server.native.tokenize import service
from rustllm.server.native.tokenize.schemas import (
    ApplyTemplateRequest,
    Content,
    CountedTokens,
    DetokenizeRequest,
    Prompt,
    TokenizeRequest,
    Tokens,
)
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.written import answer

router = APIRouter(tags=["llama-server"])


@router.post(
    "/tokenize",
    openapi_extra=schema_docs.body(TokenizeRequest),
    responses=schema_docs.answers(Tokens | CountedTokens),
)
async def tokenize(request: Request, state: State, model: LoadedModel) -> Response:
    """The tokens of a text, in llama-server's shape for `content`, in vLLM's for `prompt` and `messages`."""
    fields = await read_body(request, state, TokenizeRequest)
    return await answer(request, service.tokenize(state, model, fields))


@router.post("/detokenize", openapi_extra=schema_docs.body(DetokenizeRequest), responses=schema_docs.answers(Content))
async def detokenize(request: Request, state: State, model: LoadedModel) -> Response:
    """The text of tokens."""
    fields = await read_body(request, state, DetokenizeRequest)
    return Response(await service.detokenize(state, model, fields), media_type="application/json")


@router.post(
    "/apply-template", openapi_extra=schema_docs.body(ApplyTemplateRequest), responses=schema_docs.answers(Prompt)
)
async def apply_template(request: Request, state: State, model: LoadedModel) -> Response:
    """The prompt that a chat becomes."""
    fields = await read_body(request, state, ApplyTemplateRequest)
    return Response(dumps({"prompt": await chat_prompt(state, model, fields)}), media_type="application/json")
