"""From a completion request to OpenAI's answers."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from rustllm._rustllm import Output
from rustllm.server.errors import ApiError
from rustllm.server.generation import (
    Choice,
    Job,
    collect,
    finish_reason,
    probs_json,
    progress_json,
    timings_json,
    usage_json,
)
from rustllm.server.native.completion.service import final_json, make_job, split_prompts
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest
from rustllm.server.openai.ids import envelope
from rustllm.server.sse import Events, event
from rustllm.server.state import Model, ServerState


async def completion_jobs(state: ServerState, model: Model, request: OpenAICompletionRequest) -> list[Job]:
    """One job for each prompt."""
    if request.echo:
        raise ApiError(400, "echo: it is not supported", param="echo")
    if request.suffix:
        raise ApiError(400, "suffix: it is not supported", param="suffix")
    if request.best_of not in (None, 1):
        raise ApiError(400, f"best_of: {request.best_of} is not supported; allowed: 1", param="best_of")
    if request.n_probs is None and request.logprobs is not None:
        request.n_probs = request.logprobs
    return [await make_job(state, model, prompt, request) for prompt in split_prompts(request.prompt)]


async def complete(model: Model, request: OpenAICompletionRequest, jobs: list[Job]) -> dict[str, Any]:
    """The whole answer."""
    finished = [(job, await collect(model, job)) for job in jobs]
    choices = [(job, choice) for job, choices in finished for choice in choices]
    body = {
        "choices": [_choice_json(job, index, choice) for index, (job, choice) in enumerate(choices)],
        **envelope("cmpl-", "text_completion", request.model or model.name),
        "usage": _total_usage(finished),
    }
    first_job, first = choices[0]
    if first_job.verbose:
        body["__verbose"] = final_json(model, first_job, request, first, stream=False)
    if first.timings is not None:
        body["timings"] = timings_json(first.timings)
    return body


def _choice_json(job: Job, index: int, choice: Choice) -> dict[str, Any]:
    logprobs = None
    if choice.probs:
        logprobs = {"content": probs_json(choice.probs, bool(job.settings["post_sampling_probs"]))}
    return {"text": choice.text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason(choice)}


def _total_usage(finished: list[tuple[Job, list[Choice]]]) -> dict[str, Any]:
    usages = [usage_json(job, choices) for job, choices in finished]
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    totals = {name: sum(usage[name] for usage in usages) for name in usages[0] if name.endswith("tokens")}
    return {**totals, "prompt_tokens_details": {"cached_tokens": cached}}


class CompletionEvents:
    """The chunks of a job's stream; the last of each choice has its reason, the usage and the timings."""

    def __init__(
        self, model: Model, request: OpenAICompletionRequest, job: Job, base: dict[str, Any], first: int
    ) -> None:
        """`base` is what all chunks of the stream share, `first` the index of the first choice."""
        self._model, self._request, self._job, self._base = model, request, job, base
        self._choices = [Choice(first + index) for index in range(job.choices)]

    def take(self, output: Output) -> bytes:
        """The chunk of an output, if it has one."""
        choice = self._choices[output.index]
        choice.follow(output)
        entry: dict[str, Any] = {"text": output.text, "index": choice.index, "logprobs": None, "finish_reason": None}
        if output.probs:
            content = probs_json(output.probs, bool(self._job.settings["post_sampling_probs"]))
            entry["logprobs"] = {"content": content}
        if output.is_last:
            return event(self._last(entry, choice))
        if output.text or output.probs or output.progress is not None:
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
    return [(job, CompletionEvents(model, request, job, base, first)) for job, first in zip(jobs, firsts, strict=False)]


def _extras(job: Job, output: Output) -> dict[str, Any]:
    """What llama-server adds to a chunk on demand."""
    extras: dict[str, Any] = {}
    if output.progress is not None:
        extras["prompt_progress"] = progress_json(output.progress)
    if job.timings_per_token and output.timings is not None:
        extras["timings"] = timings_json(output.timings)
    return extras
