"""From a chat request to OpenAI's answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from typing import Any

from rustllm._rustllm import Output
from rustllm.chat.plan import read_answer
from rustllm.chat.prompt import chat_plan
from rustllm.chat.syntax.events import Answer
from rustllm.choice import Choice, chat_finish_reason
from rustllm.engine import Name
from rustllm.server.constraints import check_prompt_logprobs
from rustllm.server.errors import ApiError
from rustllm.server.generation import (
    Job,
    check_logprobs,
    collect,
    probs_json,
    progress_json,
    prompt_logprobs_json,
    timings_json,
    usage_json,
)
from rustllm.server.native.completion.service import final_json, make_job
from rustllm.server.openai.chat.message import ChoiceDeltas, message_json
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.openai.chat.schemas import ChatRequest
from rustllm.server.openai.ids import envelope
from rustllm.server.renamed import renamed
from rustllm.server.sampling import limit_name
from rustllm.server.sse import TextEvents, event
from rustllm.server.state import Model, ServerState
from rustllm.server.written import Items


async def chat_job(state: ServerState, model: Model, request: ChatRequest) -> Job:
    """The job of a chat request."""
    check_prompt_logprobs(request, stream=request.stream)
    _set_logprobs(request)
    prompt = await chat_prompt(state, model, request)
    plan = chat_plan(model, state.settings, prompt, request, request.reasoning_format)
    with renamed((("n_probs", "top_logprobs"),) if request.top_logprobs is not None else ()):
        job = await make_job(state, model, prompt, request, request.response_format, plan)
        if not request.stream:
            check_logprobs(state, model, [job], limit_name(request) or "max_tokens")
    if job.verbose:
        # It takes another rendering, so it is looked for only where it is shown.
        closed = await chat_prompt(state, model, request.model_copy(update={"add_generation_prompt": False}))
        job.reading["generation_prompt"] = prompt[len(closed) :] if prompt.startswith(closed) else ""
    return job


def _set_logprobs(request: ChatRequest) -> None:
    if request.logprobs:
        request.n_probs = 20 if request.top_logprobs is None else request.top_logprobs
        # Without alternatives the token's own log probability is still asked for.
        request.n_probs = max(request.n_probs, 1) if request.top_logprobs == 0 else request.n_probs
    elif request.top_logprobs:
        raise ApiError(400, "top_logprobs: it needs logprobs to be true", param="top_logprobs")


async def chat(state: ServerState, model: Model, request: ChatRequest, job: Job) -> dict[str, Any]:
    """The whole answer."""
    choices = await collect(state, model, job)
    texts = [choice.text for choice in choices]
    answers = [await state.off_loop(len(text), partial(read_answer, job.plan, text)) for text in texts]
    body = {
        "choices": Items(lambda: map(_choice_json, repeat(job), choices, answers)),
        **envelope("chatcmpl-", "chat.completion", request.model or model.name),
        "usage": usage_json(job, choices),
    }
    if job.verbose:
        body["__verbose"] = final_json(model, job, request, choices[0], stream=False)
    if choices[0].timings is not None:
        body["timings"] = timings_json(choices[0].timings)
    n = request.prompt_logprobs
    if n is not None:
        body["prompt_logprobs"] = Items(lambda: prompt_logprobs_json(choices[0].prompt_probs, n))
    return body


def _choice_json(job: Job, choice: Choice, answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = {
        "finish_reason": chat_finish_reason(choice, bool(answer.calls)),
        "index": choice.index,
        "message": message_json(answer),
    }
    if choice.has_probs:
        body["logprobs"] = {"content": Items(lambda: probs_json(choice.probs, job.post_sampling_probs))}
    return body


class ChatEvents:
    """The chunks of a stream: the role, the text, the reasons, the usage."""

    def __init__(self, model: Model, request: ChatRequest, job: Job) -> None:
        self._model, self._request, self._job = model, request, job
        self._base = envelope("chatcmpl-", "chat.completion.chunk", request.model or model.name)
        job.name = Name(self._base["id"], controls=bool(request.reasoning_control))
        self._choices = [Choice(index) for index in range(job.choices)]
        self._texts = [TextEvents(self._chunk(index, {"content": "\0text"})) for index in range(job.choices)]
        self._deltas = [ChoiceDeltas(job.plan) for _ in range(job.choices)]
        self._has_details = job.timings_per_token or job.n_probs > 0
        self._include_usage = request.stream_options.include_usage if request.stream_options else None
        #: Choices whose role is sent, and those of which only texts follow until they end.
        self._begun: set[int] = set()
        self._flowing: set[int] = set()

    def take(self, output: Output) -> bytes:
        """The chunks of an output."""
        index = output.index
        if index in self._flowing and not output.is_last:
            # The way of nearly all tokens.
            self._choices[index].latest = output
            text = output.text
            return self._texts[index].event(text) if text else b""
        return b"".join(map(event, self._chunks(index, output)))

    def end(self) -> Iterable[bytes]:
        """The usage of all choices, where it is wanted."""
        if self._include_usage is False:
            return ()
        end: dict[str, Any] = {"choices": [], **self._base, "usage": usage_json(self._job, self._choices)}
        if self._choices[0].timings is not None:
            end["timings"] = timings_json(self._choices[0].timings)
        return (event(end),)

    def _chunks(self, index: int, output: Output) -> Iterator[dict[str, Any]]:
        self._choices[index].follow(output)
        progress = output.progress
        if index not in self._begun:
            self._begun.add(index)
            first = self._chunk(index, {"role": "assistant", "content": None})
            yield {**first, **self._progress(output)}
        elif progress is not None:
            yield {**self._chunk(index, {}), **self._progress(output)}
        if progress is not None:
            return
        deltas = self._deltas[index].push(output.text, last=output.is_last)
        if output.probs and not deltas:
            deltas = [{"content": ""}]
        for position, delta in enumerate(deltas):
            yield self._delta_chunk(index, output, delta, is_first=position == 0)
        if output.is_last:
            yield self._last_chunk(index)
        elif not self._has_details and self._job.plan is None:
            self._flowing.add(index)

    def _progress(self, output: Output) -> dict[str, Any]:
        if output.progress is None:
            return {}
        extras: dict[str, Any] = {"prompt_progress": progress_json(output.progress)}
        if self._job.timings_per_token and output.timings is not None:
            extras["timings"] = timings_json(output.timings)
        return extras

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"finish_reason": reason, "index": index, "delta": delta}], **self._base}

    def _delta_chunk(self, index: int, output: Output, delta: dict[str, Any], *, is_first: bool) -> dict[str, Any]:
        chunk = self._chunk(index, delta)
        if not is_first:
            return chunk
        if output.probs:
            probs = probs_json(output.probs, self._job.post_sampling_probs)
            chunk["choices"][0]["logprobs"] = {"content": list(probs)}
        if self._job.timings_per_token and output.timings is not None:
            chunk["timings"] = timings_json(output.timings)
        return chunk

    def _last_chunk(self, index: int) -> dict[str, Any]:
        choice = self._choices[index]
        last = self._chunk(index, {}, chat_finish_reason(choice, self._deltas[index].has_calls))
        if self._include_usage is False and choice.timings is not None:
            last["timings"] = timings_json(choice.timings)
        if self._job.verbose:
            last["__verbose"] = final_json(self._model, self._job, self._request, choice, stream=True)
        return last
