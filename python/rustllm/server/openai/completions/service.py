"""From a completion request to OpenAI's answers."""

from __future__ import annotations

import asyncio
from itertools import accumulate
from typing import Any

from rustllm._rustllm import Output
from rustllm.server.constraints import refuse_prompt_logprobs
from rustllm.server.errors import ApiError
from rustllm.server.generation import (
    Choice,
    Job,
    collect,
    finish_reason,
    progress_json,
    timings_json,
    usage_json,
)
from rustllm.server.native.completion.service import final_json, make_job, split_prompts
from rustllm.server.native.infill.service import gap_job
from rustllm.server.openai.completions.logprobs import logprobs_json
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest
from rustllm.server.openai.ids import envelope
from rustllm.server.renamed import renamed
from rustllm.server.sse import Events, event
from rustllm.server.state import Model, ServerState


async def completion_jobs(state: ServerState, model: Model, request: OpenAICompletionRequest) -> list[Job]:
    """One job for each prompt."""
    refuse_prompt_logprobs(request.prompt_logprobs)
    if request.echo and (request.logprobs is not None or request.n_probs):
        message = "echo: True cannot be combined with logprobs, since a prompt's are not computed"
        raise ApiError(400, message, param="echo")
    if request.best_of not in (None, 1):
        raise ApiError(400, f"best_of: {request.best_of} is not supported; allowed: 1", param="best_of")
    by_logprobs = request.n_probs is None and request.logprobs is not None
    if by_logprobs:
        request.n_probs = request.logprobs
    with renamed((("n_probs", "logprobs"),) if by_logprobs else ()):
        return [await _job(state, model, request, prompt) for prompt in split_prompts(request.prompt)]


async def _job(state: ServerState, model: Model, request: OpenAICompletionRequest, prompt: str | list[Any]) -> Job:
    """The job of one prompt, or of the gap behind it."""
    if request.suffix:
        return await gap_job(state, model, prompt, request.suffix, request)
    return await make_job(state, model, prompt, request)


async def complete(model: Model, request: OpenAICompletionRequest, jobs: list[Job]) -> dict[str, Any]:
    """The whole answer."""
    finished = list(zip(jobs, await _collect_all(model, jobs), strict=True))
    echoes = _echoes(model, request, jobs)
    choices = [(job, choice, echo) for (job, found), echo in zip(finished, echoes, strict=True) for choice in found]
    body = {
        "choices": [_choice_json(job, index, choice, echo) for index, (job, choice, echo) in enumerate(choices)],
        **envelope("cmpl-", "text_completion", request.model or model.name),
        "usage": _total_usage(finished),
    }
    first_job, first, _ = choices[0]
    if first_job.verbose:
        body["__verbose"] = final_json(model, first_job, request, first, stream=False)
    if first.timings is not None:
        body["timings"] = timings_json(first.timings)
    return body


async def _collect_all(model: Model, jobs: list[Job]) -> list[list[Choice]]:
    """The choices of all jobs, of which as many run at once as there are slots."""
    slots = asyncio.Semaphore(model.native.n_slots)

    async def one(job: Job) -> list[Choice]:
        async with slots:
            return await collect(model, job)

    tasks = [asyncio.ensure_future(one(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _echoes(model: Model, request: OpenAICompletionRequest, jobs: list[Job]) -> list[str]:
    """What the answers of each job begin with: the prompt, if it is to be there."""
    if not request.echo:
        return [""] * len(jobs)
    decode = model.native.tokenizer.decode
    prompts = zip(split_prompts(request.prompt), jobs, strict=True)
    return [prompt if isinstance(prompt, str) else decode(job.prompt, special=False) for prompt, job in prompts]


def _choice_json(job: Job, index: int, choice: Choice, echo: str) -> dict[str, Any]:
    logprobs = None
    if choice.probs:
        logprobs = logprobs_json(choice.probs, 0, post_sampling=bool(job.settings["post_sampling_probs"]))
    return {"text": echo + choice.text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason(choice)}


def _total_usage(finished: list[tuple[Job, list[Choice]]]) -> dict[str, Any]:
    usages = [usage_json(job, choices) for job, choices in finished]
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    totals = {name: sum(usage[name] for usage in usages) for name in usages[0] if name.endswith("tokens")}
    return {**totals, "prompt_tokens_details": {"cached_tokens": cached}}


class CompletionEvents:
    """The chunks of a job's stream; the last of each choice has its reason, the usage and the timings."""

    def __init__(
        self, model: Model, request: OpenAICompletionRequest, job: Job, base: dict[str, Any], first: int, echo: str
    ) -> None:
        """`base` is what all chunks of the stream share, `first` the index of the first choice, `echo` what
        all choices begin with."""
        self._model, self._request, self._job, self._base = model, request, job, base
        self._choices = [Choice(first + index) for index in range(job.choices)]
        #: What each choice begins with, until it has begun.
        self._echoes = [echo] * job.choices
        #: Where the next token of each choice begins.
        self._offsets = [0] * job.choices

    def take(self, output: Output) -> bytes:
        """The chunk of an output, if it has one."""
        choice = self._choices[output.index]
        choice.follow(output)
        text = output.text
        if output.progress is None and self._echoes[output.index]:
            text = self._echoes[output.index] + text
            self._echoes[output.index] = ""
        entry: dict[str, Any] = {"text": text, "index": choice.index, "logprobs": None, "finish_reason": None}
        if output.probs:
            offset, post = self._offsets[output.index], bool(self._job.settings["post_sampling_probs"])
            entry["logprobs"] = logprobs_json(output.probs, offset, post_sampling=post)
            self._offsets[output.index] += sum(len(each["token"]) for each in entry["logprobs"]["content"])
        if output.is_last:
            return event(self._last(entry, choice))
        if text or output.probs or output.progress is not None:
            return event({"choices": [entry], **self._base, **_extras(self._job, output)})
        return b""

    def end(self) -> bytes:
        """Nothing: all is said with the last chunks."""
        return b""

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
