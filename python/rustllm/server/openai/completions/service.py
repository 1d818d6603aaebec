"""From a completion request to OpenAI's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import accumulate, count
from typing import Any

from rustllm._rustllm import Output
from rustllm.choice import Choice, finish_reason
from rustllm.server.constraints import check_prompt_logprobs
from rustllm.server.errors import ApiError
from rustllm.server.generation import (
    Job,
    check_logprobs,
    collect,
    progress_json,
    prompt_logprobs_json,
    timings_json,
    usage_json,
)
from rustllm.server.native.completion.service import final_json, make_job, split_prompts
from rustllm.server.native.infill.service import gap_job
from rustllm.server.openai.completions.logprobs import Echo, Place, joined, logprobs_json
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest
from rustllm.server.openai.ids import envelope
from rustllm.server.renamed import renamed
from rustllm.server.sampling import limit_name
from rustllm.server.sse import Events, event
from rustllm.server.state import Model, ServerState
from rustllm.server.written import Items


async def completion_jobs(state: ServerState, model: Model, request: OpenAICompletionRequest) -> list[Job]:
    """One job for each prompt."""
    check_prompt_logprobs(request, stream=request.stream)
    if request.best_of not in (None, 1):
        raise ApiError(400, f"best_of: {request.best_of} is not supported; allowed: 1", param="best_of")
    by_logprobs = request.n_probs is None and request.logprobs is not None
    if by_logprobs:
        # Without alternatives the token's own log probability is still asked for.
        request.n_probs = 1 if request.logprobs == 0 else request.logprobs
    if _scores_echo(request) and request.suffix:
        message = "echo: True cannot be combined with suffix and logprobs, since the prompt is not what is read"
        raise ApiError(400, message, param="echo")
    # With echo it asks for those of the prompt, too.
    names = (("n_probs", "logprobs"), ("prompt_logprobs", "logprobs" if request.echo else "prompt_logprobs"))
    with renamed(names if by_logprobs else ()):
        jobs = [await _job(state, model, request, prompt) for prompt in split_prompts(request.prompt)]
        if not request.stream:
            check_logprobs(state, model, jobs, limit_name(request) or "max_tokens")
    return jobs


def _scores_echo(request: OpenAICompletionRequest) -> bool:
    """Whether the log probabilities of the prompt are a part of the answer's."""
    return bool(request.echo and request.n_probs and not request.post_sampling_probs)


async def _job(state: ServerState, model: Model, request: OpenAICompletionRequest, prompt: str | list[Any]) -> Job:
    """The job of one prompt, or of the gap behind it."""
    if request.suffix:
        return await gap_job(state, model, prompt, request.suffix, request)
    if _scores_echo(request):
        both = max(request.n_probs or 0, request.prompt_logprobs or 0)
        request = request.model_copy(update={"prompt_logprobs": both})
    return await make_job(state, model, prompt, request)


async def complete(
    state: ServerState, model: Model, request: OpenAICompletionRequest, jobs: list[Job]
) -> dict[str, Any]:
    """The whole answer."""
    finished = list(zip(jobs, await _collect_all(state, model, jobs), strict=True))
    echoes = _echoes(model, request, jobs)

    def choices() -> Iterator[dict[str, Any]]:
        numbers = count()
        for (job, found), echo in zip(finished, echoes, strict=True):
            scored = _scored(model, request, echo, found[0])
            for choice, index in zip(found, numbers, strict=False):
                yield {**_choice_json(job, choice, echo, scored), "index": index}

    body = {
        "choices": Items(choices),
        **envelope("cmpl-", "text_completion", request.model or model.name),
        "usage": _total_usage(finished),
    }
    first_job, (first, *_) = finished[0]
    if first_job.verbose:
        body["__verbose"] = final_json(model, first_job, request, first, stream=False)
    if first.timings is not None:
        body["timings"] = timings_json(first.timings)
    return body


async def _collect_all(state: ServerState, model: Model, jobs: list[Job]) -> list[list[Choice]]:
    """The choices of all jobs, of which as many run at once as there are slots."""
    slots = asyncio.Semaphore(model.native.n_slots)

    async def one(job: Job) -> list[Choice]:
        async with slots:
            return await collect(state, model, job)

    tasks = [asyncio.ensure_future(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _echoes(model: Model, request: OpenAICompletionRequest, jobs: list[Job]) -> list[Echo]:
    """What the answers of each job begin with."""
    if not request.echo:
        return [Echo()] * len(jobs)
    decode = model.native.tokenizer.decode

    def echo(prompt: str | list[Any], job: Job) -> Echo:
        text = prompt if isinstance(prompt, str) else decode(job.prompt, special=False)
        if not _scores_echo(request):
            return Echo(text)
        return Echo(text, tuple(job.prompt), request.n_probs or 0)

    return [echo(*pair) for pair in zip(split_prompts(request.prompt), jobs, strict=True)]


def _scored(model: Model, request: OpenAICompletionRequest, echo: Echo, first: Choice) -> dict[str, Any]:
    """What all choices of a prompt say of it, of which the first knows: vLLM's field, and the beginning of OpenAI's
    `logprobs`."""
    scored: dict[str, Any] = {"logprobs": None}
    if echo.tokens:
        scored["logprobs"] = echo.logprobs_json(
            model.native.tokenizer, lambda: map(echo.place_json, first.prompt_probs)
        )
    n = request.prompt_logprobs
    if n is not None:
        scored["prompt_logprobs"] = Items(lambda: prompt_logprobs_json(first.prompt_probs, n))
    return scored


def _choice_json(job: Job, choice: Choice, echo: Echo, scored: dict[str, Any]) -> dict[str, Any]:
    logprobs = None
    if choice.has_probs:
        logprobs = logprobs_json(lambda: choice.probs, len(echo.text), post_sampling=job.post_sampling_probs)
    return {
        **scored,
        "text": echo.text + choice.text,
        "logprobs": joined(scored["logprobs"], logprobs),
        "finish_reason": finish_reason(choice),
    }


def _total_usage(finished: list[tuple[Job, list[Choice]]]) -> dict[str, Any]:
    usages = [usage_json(job, choices) for job, choices in finished]
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    totals = {name: sum(usage[name] for usage in usages) for name in usages[0] if name.endswith("tokens")}
    return {**totals, "prompt_tokens_details": {"cached_tokens": cached}}


class CompletionEvents:
    """The chunks of a job's stream; the last of each choice has its reason, the usage and the timings."""

    def __init__(
        self, model: Model, request: OpenAICompletionRequest, job: Job, base: dict[str, Any], first: int, echo: Echo
    ) -> None:
        """`base` is what all chunks of the stream share, `first` the index of the first choice, `echo` what
        all choices begin with."""
        self._model, self._request, self._job, self._base = model, request, job, base
        self._choices = [Choice(first + index) for index in range(job.choices)]
        self._echo = echo
        #: What is known of the prompt's tokens, as JSON.
        self._prompt_probs: list[Place] = []
        #: Choices that have begun.
        self._begun: set[int] = set()
        #: Where the next token of each choice begins.
        self._offsets = [len(echo.text)] * job.choices

    def take(self, output: Output) -> bytes:
        """The chunk of an output, if it has one."""
        if self._echo.tokens and (prob := output.prompt_prob) is not None:
            self._prompt_probs.append(self._echo.place_json(prob))
            return b""
        choice = self._choices[output.index]
        choice.follow(output)
        text = output.text
        entry: dict[str, Any] = {"text": text, "index": choice.index, "logprobs": None, "finish_reason": None}
        if probs := output.probs:
            offset = self._offsets[output.index]
            found = logprobs_json(lambda: probs, offset, post_sampling=self._job.post_sampling_probs)
            entry["logprobs"] = {name: list(items) for name, items in found.items()}
            self._offsets[output.index] += sum(len(each["token"]) for each in entry["logprobs"]["content"])
        if output.progress is None and output.index not in self._begun:
            self._begun.add(output.index)
            text = self._begin(entry)
        if output.is_last:
            return event(self._last(entry, choice))
        if text or probs or output.progress is not None:
            return event({"choices": [entry], **self._base, **_extras(self._job, output)})
        return b""

    def end(self) -> Iterable[bytes]:
        """Nothing: all is said with the last chunks."""
        return ()

    def _begin(self, entry: dict[str, Any]) -> str:
        """Puts the prompt before the first text of a choice, where it is echoed."""
        entry["text"] = self._echo.text + entry["text"]
        if self._echo.tokens:
            own = self._echo.logprobs_json(self._model.native.tokenizer, lambda: self._prompt_probs)
            both = joined(own, entry["logprobs"]) or {}
            entry["logprobs"] = {name: list(items) for name, items in both.items()}
        return str(entry["text"])

    def _last(self, entry: dict[str, Any], choice: Choice) -> dict[str, Any]:
        entry["finish_reason"] = finish_reason(choice)
        last = {"choices": [entry], **self._base, "usage": usage_json(self._job, self._choices)}
        if self._job.verbose:
            last["__verbose"] = final_json(self._model, self._job, self._request, choice, stream=True)
        return {**last, "timings": timings_json(choice.timings)} if choice.timings else last


def stream_parts(model: Model, request: OpenAICompletionRequest, jobs: list[Job]) -> list[tuple[Job, Events]]:
    """The jobs of a stream, each with what writes its chunks."""
    base = envelope("cmpl-", "text_completion", request.model or model.name)
    firsts = accumulate((job.choices for job in jobs), initial=0)
    rows = zip(jobs, firsts, _echoes(model, request, jobs), strict=False)
    return [(job, CompletionEvents(model, request, job, base, first, echo)) for job, first, echo in rows]


def _extras(job: Job, output: Output) -> dict[str, Any]:
    """What llama-server adds to a chunk on demand."""
    extras: dict[str, Any] = {}
    if output.progress is not None:
        extras["prompt_progress"] = progress_json(output.progress)
    if job.timings_per_token and output.timings is not None:
        extras["timings"] = timings_json(output.timings)
    return extras
