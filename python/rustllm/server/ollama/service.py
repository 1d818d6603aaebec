"""From an answer's pieces to Ollama's answers and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from time import perf_counter_ns
from typing import Any

from rustllm._rustllm import Output, Timings
from rustllm.choice import TokenProbs
from rustllm.server.errors import ApiError, dumps
from rustllm.server.generation import Job, check_logprobs, probs_json
from rustllm.server.native.completion.service import make_job
from rustllm.server.native.infill.service import gap_job
from rustllm.server.ollama.chat import (
    NAMES,
    chat_fields,
    generate_fields,
    refuse_unsupported,
    refused,
    sampling_fields,
)
from rustllm.server.ollama.errors import error_body
from rustllm.server.ollama.joined import Joiner, Line
from rustllm.server.ollama.schemas import AnswerFields, ChatRequest, GenerateRequest
from rustllm.server.pieces import Ended, Pieces, parse_arguments, translated_job, whole
from rustllm.server.renamed import renamed
from rustllm.server.sampling import SamplingFields
from rustllm.server.state import Model, ServerState
from rustllm.server.written import Items

Json = dict[str, Any]


async def chat_job(state: ServerState, model: Model, request: ChatRequest) -> Job:
    """The job of a chat."""
    return await translated_job(state, model, request, chat_fields, NAMES)


async def generate_job(state: ServerState, model: Model, request: GenerateRequest) -> Job:
    """The job of a prompt: a chat's, or of the prompt as it is."""
    refuse_unsupported(request)
    if not request.raw and not request.suffix:
        return await translated_job(state, model, request, generate_fields, NAMES)
    if request.system:
        raise refused("system", "it has no place in a prompt that is raw or has a suffix")
    given = {name: value for name, value in sampling_fields(request).items() if value is not None}
    if given.pop("response_format", None) is not None:
        given["json_schema"] = request.format if isinstance(request.format, dict) else {"type": "object"}
    if request.logprobs:
        given["n_probs"] = max(request.top_logprobs or 0, 1)
    fields = SamplingFields.model_validate(given)
    with renamed(NAMES):
        if request.suffix:
            job = await gap_job(state, model, request.prompt, request.suffix, fields)
        else:
            job = await make_job(state, model, request.prompt or "", fields)
        if request.stream is False:
            check_logprobs(state, model, [job], "options.num_predict")
    return job


class Lines:
    """The lines of one answer: what is new, and at the end the counts."""

    def __init__(self, model: Model, request: AnswerFields, job: Job) -> None:
        self._model, self._request, self._job = model, request, job
        self._shape = _shape(request)
        self._pieces, self._joiner = Pieces(job), Joiner()
        self._began = perf_counter_ns()

    def take(self, output: Output) -> bytes:
        """The lines of an output: the pieces that are new as one, the end as another."""
        pieces = self._pieces.take(output)
        last = pieces.pop() if pieces and isinstance(pieces[-1], Ended) else None
        line, probs = self._joiner.join(pieces, ends=last is not None), self._probs(output.probs)
        lines = b""
        if probs or not line.is_empty:
            lines = _line({**self._head(), **self._shape(line), "done": False, **probs})
        if isinstance(last, Ended):
            lines += _line({**self._head(), **self._shape(Line()), **self._end(last)})
        return lines

    def end(self) -> Iterable[bytes]:
        """Nothing follows the last output."""
        return ()

    async def whole(self, state: ServerState) -> Json:
        """The whole answer."""
        *pieces, last = await whole(state, self._model, self._job)
        assert isinstance(last, Ended)
        line = self._joiner.join(pieces, ends=True)
        choice, probs = last.choice, {}
        if self._request.logprobs and choice.has_probs:
            probs = {"logprobs": Items(lambda: probs_json(choice.probs, post_sampling=False))}
        return {**self._head(), **self._shape(line), **self._end(last), **probs}

    def _head(self) -> Json:
        return {"model": self._request.model or self._model.name, "created_at": now()}

    def _probs(self, probs: list[TokenProbs]) -> Json:
        if not self._request.logprobs or not probs:
            return {}
        return {"logprobs": list(probs_json(probs, post_sampling=False))}

    def _end(self, ended: Ended) -> Json:
        timings = ended.choice.timings
        spent = perf_counter_ns() - self._began
        reason = "length" if ended.stop_type == "limit" else "stop"
        return {"done": True, "done_reason": reason, "total_duration": spent, **_counts(self._job, timings)}


def _counts(job: Job, timings: Timings | None) -> Json:
    prompt_ms, predicted_ms = (0.0, 0.0) if timings is None else (timings.prompt_ms, timings.predicted_ms)
    return {
        "load_duration": 0,
        "prompt_eval_count": len(job.prompt),
        "prompt_eval_duration": round(1e6 * prompt_ms),
        "eval_count": 0 if timings is None else timings.predicted_n,
        "eval_duration": round(1e6 * predicted_ms),
    }


def chat_message(line: Line) -> Json:
    """The answer of a chat."""
    message: Json = {"role": "assistant", "content": line.text}
    if line.thought:
        message["thinking"] = line.thought
    if line.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "function": {"index": index, "name": call.name, "arguments": parse_arguments(call.arguments)},
            }
            for index, call in enumerate(line.calls, line.first_call)
        ]
    return {"message": message}


def generated(line: Line) -> Json:
    """The answer to a prompt, which calls nothing."""
    return {"response": line.text, **({"thinking": line.thought} if line.thought else {})}


def _shape(request: AnswerFields) -> Callable[[Line], Json]:
    return chat_message if isinstance(request, ChatRequest) else generated


def nothing(model: Model, request: AnswerFields) -> Json:
    """The answer to nothing, by which clients load a model and let it go."""
    reason = "unload" if request.keep_alive in (0, "0", "0s") else "load"
    head = {"model": request.model or model.name, "created_at": now()}
    return {**head, **_shape(request)(Line()), "done": True, "done_reason": reason}


def failed(error: ApiError) -> bytes:
    """The line of an error within a stream."""
    return _line(error_body(error))


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def _line(value: Json) -> bytes:
    return dumps(value) + b"\n"
