"""From a chat request to OpenAI's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from rustllm._rustllm import Output
from rustllm.server.errors import ApiError
from rustllm.server.generation import (
    Choice,
    Job,
    collect,
    finish_reason,
    outputs,
    probs_json,
    progress_json,
    timings_json,
    usage_json,
)
from rustllm.server.native.completion.service import final_json, make_job
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.openai.chat.schemas import ChatRequest
from rustllm.server.openai.ids import envelope
from rustllm.server.state import Model, ServerState


async def chat_job(state: ServerState, model: Model, request: ChatRequest) -> Job:
    """The job of a chat request."""
    if request.tools and request.tool_choice not in (None, "none", "auto"):
        raise ApiError(501, "tool_choice: forced tool calls are not supported yet", param="tool_choice")
    _set_logprobs(request)
    prompt = await chat_prompt(state, model, request)
    return await make_job(state, model, prompt, request, request.response_format)


def _set_logprobs(request: ChatRequest) -> None:
    if request.logprobs:
        request.n_probs = 20 if request.top_logprobs is None else request.top_logprobs
        # Without alternatives the token's own log probability is still asked for.
        request.n_probs = max(request.n_probs, 1) if request.top_logprobs == 0 else request.n_probs
    elif request.top_logprobs:
        raise ApiError(400, "top_logprobs: it needs logprobs to be true", param="top_logprobs")


async def chat(model: Model, request: ChatRequest, job: Job) -> dict[str, Any]:
    """The whole answer."""
    choices = await collect(model, job)
    body = {
        "choices": [_choice_json(job, choice) for choice in choices],
        **envelope("chatcmpl-", "chat.completion", request.model or model.name),
        "usage": usage_json(job, choices),
    }
    if job.verbose:
        body["__verbose"] = final_json(model, job, request, choices[0], stream=False)
    if choices[0].timings is not None:
        body["timings"] = timings_json(choices[0].timings)
    return body


def _choice_json(job: Job, choice: Choice) -> dict[str, Any]:
    body: dict[str, Any] = {
        "finish_reason": finish_reason(choice),
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text},
    }
    if choice.probs:
        body["logprobs"] = {"content": probs_json(choice.probs, bool(job.settings["post_sampling_probs"]))}
    return body


async def stream_chat(model: Model, request: ChatRequest, job: Job) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream: the role, the text, the reasons, the usage."""
    base = envelope("chatcmpl-", "chat.completion.chunk", request.model or model.name)
    choices = [Choice(index) for index in range(job.choices)]
    begun: set[int] = set()
    include = request.stream_options.include_usage if request.stream_options else None

    def chunk(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"finish_reason": reason, "index": index, "delta": delta}], **base}

    async for output in outputs(model, job):
        choice = choices[output.index]
        choice.take(output)
        if choice.index not in begun:
            begun.add(choice.index)
            first = chunk(choice.index, {"role": "assistant", "content": None})
            if output.progress is not None:
                first["prompt_progress"] = progress_json(output.progress)
            yield first
            if output.progress is not None:
                continue
        if output.progress is not None:
            yield {**chunk(choice.index, {}), "prompt_progress": progress_json(output.progress)}
        elif output.text or output.probs:
            yield _text_chunk(job, output, chunk(choice.index, {"content": output.text}))
        if output.kind == "done":
            last = chunk(choice.index, {}, finish_reason(choice))
            if include is False and choice.timings is not None:
                last["timings"] = timings_json(choice.timings)
            if job.verbose:
                last["__verbose"] = final_json(model, job, request, choice, stream=True)
            yield last
    if include is not False:
        end: dict[str, Any] = {"choices": [], **base, "usage": usage_json(job, choices)}
        if choices[0].timings is not None:
            end["timings"] = timings_json(choices[0].timings)
        yield end


def _text_chunk(job: Job, output: Output, chunk: dict[str, Any]) -> dict[str, Any]:
    if output.probs:
        probs = probs_json(output.probs, bool(job.settings["post_sampling_probs"]))
        chunk["choices"][0]["logprobs"] = {"content": probs}
    if job.timings_per_token and output.timings is not None:
        chunk["timings"] = timings_json(output.timings)
    return chunk
