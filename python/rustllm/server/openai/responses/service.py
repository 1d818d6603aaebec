"""From an answer's pieces to OpenAI's responses and events."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from time import time
from typing import Any

from rustllm._rustllm import Output as EngineOutput
from rustllm.server.errors import ApiError
from rustllm.server.generation import Job, probs_json
from rustllm.server.openai.responses.chat import chat_fields, names
from rustllm.server.openai.responses.output import Output
from rustllm.server.openai.responses.schemas import ResponsesRequest
from rustllm.server.pieces import Ended, Piece, Pieces, Started, count_tokens, translated_job, whole
from rustllm.server.sse import named, named_pieces
from rustllm.server.state import Model, ServerState
from rustllm.server.written import Items

Json = dict[str, Any]


async def response_job(state: ServerState, model: Model, request: ResponsesRequest) -> Job:
    """The job of a request."""
    return await translated_job(state, model, request, chat_fields, names(request))


async def input_tokens(state: ServerState, model: Model, request: ResponsesRequest) -> Json:
    """How many tokens the prompt of a request has."""
    count = await count_tokens(state, model, request, chat_fields, names(request))
    return {"object": "response.input_tokens", "input_tokens": count}


async def response(state: ServerState, model: Model, request: ResponsesRequest, job: Job) -> Json:
    """The whole answer."""
    output, body = Output(), _head(model, request, job)
    for piece in await whole(state, model, job):
        if isinstance(piece, Ended):
            _close(output, job, piece)
            body |= _end(model, job, output, piece)
        elif not isinstance(piece, Started):
            output.take(piece)
    return body


class ResponseEvents:
    """The events of a stream, numbered."""

    def __init__(self, model: Model, request: ResponsesRequest, job: Job) -> None:
        self._model, self._job = model, job
        self._pieces, self._output = Pieces(job, keeps_probs=True), Output()
        self._body = _head(model, request, job)
        self._number = 0
        self._ended: Ended | None = None

    def take(self, output: EngineOutput) -> bytes:
        """The events of an output."""
        data = b""
        for piece in self._pieces.take(output):
            if isinstance(piece, Ended):
                self._ended = piece
            else:
                data += b"".join(map(self._event, self._fields(piece)))
        return data

    def end(self) -> Iterable[bytes]:
        """The events of the end, which have the log probabilities of all tokens."""
        if self._ended is not None:
            for fields in self._fields(self._ended):
                yield from named_pieces(self._numbered(fields))

    def failed(self, error: ApiError) -> bytes:
        """The event of an error within the stream."""
        detail = {"code": "server_error", "message": str(error)}
        return self._event({"type": "response.failed", "response": {**self._body, "status": "failed", "error": detail}})

    def _event(self, fields: Json) -> bytes:
        return named(self._numbered(fields))

    def _numbered(self, fields: Json) -> Json:
        number = self._number
        self._number += 1
        return {**fields, "sequence_number": number}

    def _fields(self, piece: Piece) -> Iterator[Json]:
        if isinstance(piece, Started):
            yield {"type": "response.created", "response": self._body}
            yield {"type": "response.in_progress", "response": self._body}
        elif isinstance(piece, Ended):
            yield from _close(self._output, self._job, piece)
            self._body |= _end(self._model, self._job, self._output, piece)
            yield {"type": f"response.{self._body['status']}", "response": self._body}
        else:
            yield from self._output.take(piece)


def _close(output: Output, job: Job, ended: Ended) -> list[Json]:
    status = "incomplete" if ended.stop_type == "limit" else "completed"
    choice = ended.choice
    probs = Items(lambda: probs_json(choice.probs, job.post_sampling_probs)) if choice.has_probs else None
    return output.close(status, probs)


def _head(model: Model, request: ResponsesRequest, job: Job) -> Json:
    """The response before it is answered."""
    text = request.text
    form = text.format if text is not None and text.format is not None else {"type": "text"}
    reasoning = request.reasoning
    return {
        "id": f"resp_{secrets.token_hex(16)}",
        "object": "response",
        "created_at": int(time()),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": request.model or model.name,
        "output": [],
        "usage": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "store": False,
        "background": False,
        "temperature": job.settings["temperature"],
        "top_p": job.settings["top_p"],
        "text": {"format": form, "verbosity": (text.verbosity if text is not None else None) or "medium"},
        "tool_choice": request.tool_choice or "auto",
        "tools": [{"parameters": None, "strict": None, **tool} for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "truncation": "disabled",
        "user": request.user,
    }


def _end(model: Model, job: Job, output: Output, ended: Ended) -> Json:
    """What changes when the answer is there."""
    timings = ended.choice.timings
    tokens = timings.predicted_n if timings is not None else 0
    thoughts = model.native.tokenizer.encode(output.thoughts, add_special=False, parse_special=False)
    is_cut = ended.stop_type == "limit"
    return {
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "completed_at": None if is_cut else int(time()),
        "output": output.items,
        "usage": {
            "input_tokens": len(job.prompt),
            "input_tokens_details": {
                "cached_tokens": timings.cache_n if timings is not None else 0,
                "cache_write_tokens": 0,
            },
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": min(len(thoughts), tokens)},
            "total_tokens": len(job.prompt) + tokens,
        },
    }
