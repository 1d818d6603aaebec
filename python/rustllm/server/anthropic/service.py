"""From an answer's pieces to Anthropic's messages and events."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from rustllm._rustllm import Output, Timings
from rustllm.server.anthropic.blocks import Blocks
from rustllm.server.anthropic.chat import NAMES, chat_fields, prompt_fields
from rustllm.server.anthropic.errors import error_body
from rustllm.server.anthropic.schemas import CountTokensRequest, MessagesRequest
from rustllm.server.errors import ApiError
from rustllm.server.generation import Job
from rustllm.server.pieces import Ended, Piece, Pieces, Started, count_tokens, translated_job, whole
from rustllm.server.sse import named
from rustllm.server.state import Model, ServerState


async def message_job(state: ServerState, model: Model, request: MessagesRequest) -> Job:
    """The job of a request."""
    return await translated_job(state, model, request, chat_fields, NAMES)


async def tokens(state: ServerState, model: Model, request: CountTokensRequest) -> dict[str, Any]:
    """How many tokens the prompt of a request has."""
    return {"input_tokens": await count_tokens(state, model, request, prompt_fields, NAMES)}


async def message(state: ServerState, model: Model, request: MessagesRequest, job: Job) -> dict[str, Any]:
    """The whole answer."""
    blocks = Blocks()
    body = _head(model, request)
    for piece in await whole(state, model, job):
        if isinstance(piece, Ended):
            blocks.close()
            body |= {"content": blocks.content, **_stop(request, piece), "usage": _usage(job, piece.choice.timings)}
        elif not isinstance(piece, Started):
            blocks.take(piece)
    return body


class MessageEvents:
    """The events of a stream."""

    def __init__(self, model: Model, request: MessagesRequest, job: Job) -> None:
        self._model, self._request, self._job = model, request, job
        self._pieces, self._blocks = Pieces(job), Blocks()

    def take(self, output: Output) -> bytes:
        """The events of an output."""
        return b"".join(named(event) for piece in self._pieces.take(output) for event in self._events(piece))

    def end(self) -> Iterable[bytes]:
        """Nothing follows the last output."""
        return ()

    def _events(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if isinstance(piece, Started):
            body = {**_head(self._model, self._request), "content": [], "stop_reason": None, "stop_sequence": None}
            yield {"type": "message_start", "message": {**body, "usage": _usage(self._job, piece.timings)}}
            yield {"type": "ping"}
        elif isinstance(piece, Ended):
            yield from self._blocks.close()
            usage = _usage(self._job, piece.choice.timings)
            yield {"type": "message_delta", "delta": _stop(self._request, piece), "usage": usage}
            yield {"type": "message_stop"}
        else:
            yield from self._blocks.take(piece)


def failed(error: ApiError) -> bytes:
    """The event of an error within a stream."""
    return named(error_body(error))


def _head(model: Model, request: MessagesRequest) -> dict[str, Any]:
    ident = "msg_" + secrets.token_urlsafe(18)
    return {"id": ident, "type": "message", "role": "assistant", "model": request.model or model.name}


def _stop(request: MessagesRequest, ended: Ended) -> dict[str, Any]:
    reason = {"word": "stop_sequence", "limit": "max_tokens"}.get(ended.stop_type, "end_turn")
    timings = ended.choice.timings
    if reason == "max_tokens" and timings is not None and timings.predicted_n < request.max_tokens:
        reason = "model_context_window_exceeded"
    if ended.has_calls and reason == "end_turn":
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": ended.stopping_word}


def _usage(job: Job, timings: Timings | None) -> dict[str, int]:
    cached = timings.cache_n if timings is not None else 0
    return {
        "input_tokens": len(job.prompt) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": timings.predicted_n if timings is not None else 0,
    }
