"""Tokens and their texts."""

from __future__ import annotations

from typing import Any

from rustllm.server.errors import ApiError
from rustllm.server.native.tokenize.schemas import DetokenizeRequest, TokenizeRequest
from rustllm.server.state import Model, ServerState


async def tokenize(state: ServerState, model: Model, request: TokenizeRequest) -> dict[str, Any]:
    """The tokens of a text, with their pieces on demand."""
    tokenizer = model.native.tokenizer
    add_special = bool(request.add_special)
    parse_special = request.parse_special is not False

    def work() -> list[int]:
        parts = [request.content] if isinstance(request.content, str) else request.content
        tokens: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, str):
                tokens += tokenizer.encode(part, add_special=add_special and not index, parse_special=parse_special)
            else:
                tokens.append(_checked(part, f"content[{index}]", tokenizer.vocab_size))
        return tokens

    # A list's texts are not measured; one that could be long goes to a worker as well.
    size = len(request.content) if isinstance(request.content, str) else 1 << 30
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
    return {"content": content}
