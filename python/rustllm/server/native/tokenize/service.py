"""Tokens and their texts."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from rustllm._rustllm import Tokenizer
from rustllm.limits import Limits
from rustllm.measures import size
from rustllm.server.errors import ApiError, dumps
from rustllm.server.native.tokenize.schemas import DetokenizeRequest, TokenizeRequest
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.state import INLINE_CHARS, Model, ServerState
from rustllm.server.written import Items

#: Tokens that are written in one go: it takes up to a few milliseconds, in which nothing else of the server runs.
_AT_ONCE = 1 << 12


async def tokenize(state: ServerState, model: Model, request: TokenizeRequest) -> dict[str, Any]:
    """The tokens of a text, in the shape of the API that the request belongs to."""
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
    return await _counted(state, model, request, given[0])


async def _counted(state: ServerState, model: Model, request: TokenizeRequest, param: str) -> dict[str, Any]:
    """vLLM's answer. A chat is cut as one that is to be answered."""
    tokenizer = model.native.tokenizer
    text = await chat_prompt(state, model, request) if request.prompt is None else request.prompt

    def work() -> dict[str, Any]:
        tokens = _packed(tokenizer, text, add_special=request.add_special_tokens is not False, parse_special=True)
        texts = None
        if request.return_token_strs:
            _check_count(state.settings.limits, tokens, param)
            texts = _array(tokens, tokenizer.raw_text)
        fields = {"count": len(tokens), "max_model_len": model.native.n_ctx, "tokens": _array(tokens)}
        return {**fields, "token_strs": texts}

    return await state.off_loop(len(text), work)


async def _pieces(
    state: ServerState, model: Model, request: TokenizeRequest, content: str | list[int | str]
) -> dict[str, Any]:
    """llama-server's answer, with the tokens' pieces on demand."""
    tokenizer = model.native.tokenizer
    add_special = bool(request.add_special)
    parse_special = request.parse_special is not False

    def encoded() -> array[int]:
        parts = [content] if isinstance(content, str) else content
        tokens = array("I")
        for index, part in enumerate(parts):
            if isinstance(part, str):
                tokens += _packed(tokenizer, part, add_special and not index, parse_special)
            else:
                _check_ids([part], "content", tokenizer.vocab_size, index)
                tokens.append(part)
        return tokens

    def work() -> dict[str, Any]:
        tokens = encoded()
        if not request.with_pieces:
            return {"tokens": _array(tokens)}
        _check_count(state.settings.limits, tokens, "content")
        return {"tokens": _array(tokens, lambda id_: {"id": id_, "piece": _piece(tokenizer.token_bytes(id_))})}

    return await state.off_loop(size(content, INLINE_CHARS), work)


def _packed(tokenizer: Tokenizer, text: str, add_special: bool, parse_special: bool) -> array[int]:
    """The tokens of a text, four bytes each."""
    return array("I", tokenizer.encode_packed(text, add_special=add_special, parse_special=parse_special))


def _check_count(limits: Limits, tokens: Sequence[int], param: str) -> None:
    """Tokens whose texts are asked for are as few as those of a list."""
    limits.check_count("token_ids", param, len(tokens), "its tokens")


class _Written(dict[int, bytes]):
    """The JSON of each token, which is made once however often the token comes."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __missing__(self, token: int) -> bytes:
        self[token] = written = dumps(self._make(token))
        return written


def _array(tokens: Sequence[int], make: Callable[[int], Any] | None = None) -> Items:
    """A JSON array of what `make` makes of each token, by default the ids themselves."""
    written = _Written((lambda token: token) if make is None else make)

    def runs() -> Iterator[orjson.Fragment]:
        # A run of items, with the commas between them, is written as if it were one.
        for at in range(0, len(tokens), _AT_ONCE):
            yield orjson.Fragment(b",".join(map(written.__getitem__, tokens[at : at + _AT_ONCE])))

    return Items(runs)


def _check_ids(tokens: list[int], param: str, vocab_size: int, first: int = 0) -> None:
    """Refuses what is no token; `first` is the place of the first one in the field."""
    if not tokens or (min(tokens) >= 0 and max(tokens) < vocab_size):
        return
    index = next(index for index, token in enumerate(tokens) if not 0 <= token < vocab_size)
    place = f"{param}[{first + index}]"
    message = f"{place}: {tokens[index]} is out of range; allowed: 0 to {vocab_size - 1}"
    raise ApiError(400, message, param=place)


def _piece(data: bytes) -> str | list[int]:
    """A token's text, or its bytes where they are no text of their own."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


async def detokenize(state: ServerState, model: Model, request: DetokenizeRequest) -> bytes:
    """The text of tokens, as JSON."""
    tokenizer = model.native.tokenizer

    def work() -> bytes:
        _check_ids(request.tokens, "tokens", tokenizer.vocab_size)
        content = tokenizer.decode(request.tokens, special=True)
        return dumps({"content": content, "prompt": content})

    return await state.off_loop(len(request.tokens), work)
