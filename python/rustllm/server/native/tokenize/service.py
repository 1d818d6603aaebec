"""Tokens and their texts."""

from __future__ import annotations

from typing import Any

from rustllm.server.errors import ApiError
from rustllm.server.native.tokenize.schemas import DetokenizeRequest, TokenizeRequest
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.state import Model, ServerState


async def tokenize(state: ServerState, model: Model, request: TokenizeRequest) -> dict[str, Any]:
    """The tokens of a text in the shape of the API that the request belongs to."""
    texts = {"content": request.content, "prompt": request.prompt, "messages": request.messages}
    given = [name for name, value in texts.items() if value is not None]
    if not given:
        message = "content: it is missing; expected the text to cut into tokens, or vLLM's prompt or messages"
        raise ApiError(400, message, param="content")
    if len(given) > 1:
        message = f"{given[1]}: it cannot be combined with {given[0]}; only one of them may be given"
        raise ApiError(400, message, param=given[1])
    if request.content is not None:
        return await _pieces(state, model, request, request.content)
    return await _counted(state, model, request)


async def _counted(state: ServerState, model: Model, request: TokenizeRequest) -> dict[str, Any]:
    """vLLM's answer. A chat is cut as one that is to be answered."""
    tokenizer = model.native.tokenizer
    text = await chat_prompt(state, model, request) if request.prompt is None else request.prompt
    special = request.add_special_tokens is not False
    tokens = await state.off_loop(len(text), lambda: tokenizer.encode(text, add_special=special, parse_special=True))
    return {
        "count": len(tokens),
        "max_model_len": model.native.n_ctx,
        "tokens": tokens,
        "token_strs": [tokenizer.raw_text(token) for token in tokens] if request.return_token_strs else None,
    }


async def _pieces(
    state: ServerState, model: Model, request: TokenizeRequest, content: str | list[int | str]
) -> dict[str, Any]:
    """llama-server's answer, with the tokens' pieces on demand."""
    tokenizer = model.native.tokenizer
    add_special = bool(request.add_special)
    parse_special = request.parse_special is not False

    def work() -> list[int]:
        parts = [content] if isinstance(content, str) else content
        tokens: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, str):
                tokens += tokenizer.encode(part, add_special=add_special and not index, parse_special=parse_special)
            else:
                tokens.append(_checked(part, f"content[{index}]", tokenizer.vocab_size))
        return tokens

    # A list's texts are not measured; one that could be long goes to a worker as well.
    size = len(content) if isinstance(content, str) else 1 << 30
    tokens = await state.off_loop(size, work)
    if not request.with_pieces:
        return {"tokens": tokens}
    return {"tokens": [{"id": token, "piece": _piece(tokenizer.token_bytes(token))} for token in tokens]}


def _checked(token: int, param: str, vocab_size: int) -> int:
    if not 0 <= token < vocab_size:
        message = f"{param}: {token} is out of range; allowed: 0 to {vocab_size - 1}"
        raise ApiError(400, message, param=param)
    return token


def _piece(data: bytes) -> str | list[int]:
    """A token's text, or its bytes where they are no text of their own."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


async def detokenize(state: ServerState, model: Model, request: DetokenizeRequest) -> dict[str, Any]:
    """The text of tokens."""
    tokenizer = model.native.tokenizer
    for index, token in enumerate(request.tokens):
        _checked(token, f"tokens[{index}]", tokenizer.vocab_size)
    content = await state.off_loop(len(request.tokens), lambda: tokenizer.decode(request.tokens, special=True))
    return {"content": content, "prompt": content}
