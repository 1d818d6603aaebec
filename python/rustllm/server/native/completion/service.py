"""From a completion request to llama-server's answers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, cast

from rustllm._rustllm import Output, Tokenizer
from rustllm.chat.plan import Plan
from rustllm.choice import Choice
from rustllm.invalid import shown
from rustllm.measures import size
from rustllm.server.errors import ApiError
from rustllm.server.generation import Job, check_logprobs, collect, probs_json, progress_json, timings_json
from rustllm.server.generation_settings import reading_json, settings_json
from rustllm.server.native.completion.schemas import Answered
from rustllm.server.sampling import SamplingFields, build_params, compile_grammar, limit_name
from rustllm.server.sse import Events, event
from rustllm.server.state import INLINE_CHARS, Model, ServerState
from rustllm.server.written import Items


def split_prompts(prompt: object) -> list[str | list[Any]]:
    """The prompts of a request: a list of texts or of lists is several, anything else is one."""
    if isinstance(prompt, (str, dict)):
        return [_plain(prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise ApiError(400, "prompt: it is empty; at least one token is needed", param="prompt")
    mixed = any(isinstance(item, int) for item in prompt)
    return [prompt] if mixed else [_plain(item) for item in prompt]


def _plain(prompt: Any) -> str | list[Any]:
    """The text of a prompt given as an object, which is llama-server's form for prompts with media."""
    if not isinstance(prompt, dict):
        return cast("str | list[Any]", prompt)
    if prompt.get("multimodal_data"):
        message = "prompt.multimodal_data: images, sound and video are not supported yet"
        raise ApiError(400, message, param="prompt.multimodal_data")
    text = prompt.get("prompt_string")
    if not isinstance(text, str):
        message = f"prompt.prompt_string: {shown(text)} is not a text"
        raise ApiError(400, message, param="prompt.prompt_string")
    return text


def tokenize_prompt(model: Model, prompt: str | list[Any]) -> list[int]:
    """Token ids of one prompt; only the first text of a mixed one gets BOS."""
    tokens = tokenize_mixed(model.native.tokenizer, prompt, "prompt", special=True)
    if not tokens and not isinstance(prompt, str):
        raise ApiError(400, "prompt: it is empty; at least one token is needed", param="prompt")
    return tokens


def tokenize_mixed(tokenizer: Tokenizer, value: str | list[Any], param: str, *, special: bool = False) -> list[int]:
    """Token ids of a text, or of texts and ids mixed. `special` adds BOS to the first text and reads the
    texts of special tokens as these tokens."""
    if isinstance(value, str):
        return tokenizer.encode(value, add_special=special, parse_special=special)
    tokens: list[int] = []
    for index, item in enumerate(value):
        if isinstance(item, str):
            tokens += tokenizer.encode(item, add_special=special and index == 0, parse_special=special)
        elif isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < tokenizer.vocab_size:
            allowed = f"0 to {tokenizer.vocab_size - 1}"
            raise ApiError(400, f"{param}[{index}]: {shown(item)} is not a token id; allowed: {allowed}", param=param)
        else:
            tokens.append(item)
    return tokens


async def make_job(
    state: ServerState,
    model: Model,
    prompt: str | list[Any],
    fields: SamplingFields,
    response_format: dict[str, Any] | None = None,
    plan: Plan | None = None,
) -> Job:
    """A job from a prompt and the request's fields; `plan` is how a chat's answers are read."""
    grammar, watch, triggers = await compile_grammar(fields, response_format, state, model, plan)
    params = build_params(fields, state, model.native.tokenizer, plan)

    def tokenize() -> list[int]:
        texts = [prompt] if isinstance(prompt, str) else [part for part in prompt if isinstance(part, str)]
        model.native.check_texts(texts)
        return tokenize_prompt(model, prompt)

    tokens = await state.off_loop(size(prompt, INLINE_CHARS), tokenize)
    return Job(
        prompt=tokens,
        params=params,
        grammar=grammar,
        watch=watch,
        plan=plan if plan is not None and plan.reads else None,
        settings=params.as_dict(),
        reading=reading_json(plan, triggers),
        return_tokens=bool(fields.return_tokens),
        timings_per_token=bool(fields.timings_per_token),
        verbose=state.settings.verbose if fields.verbose is None else fields.verbose,
    )


def final_json(model: Model, job: Job, fields: SamplingFields, choice: Choice, *, stream: bool) -> dict[str, Any]:
    """The whole answer of one choice."""
    finish, timings = choice.finish, choice.timings
    assert finish is not None
    assert timings is not None
    body: dict[str, Any] = {
        "index": choice.index,
        "content": "" if stream else choice.text,
        "tokens": [] if stream or not job.return_tokens else choice.tokens,
        "id_slot": finish.id_slot,
        "stop": True,
        "model": model.name,
        "tokens_predicted": timings.predicted_n,
        "tokens_evaluated": len(job.prompt),
        "generation_settings": {**_settings(job, fields, stream), "seed": finish.seed},
        "prompt": model.native.tokenizer.decode(job.prompt, special=True),
        "has_new_line": finish.has_new_line,
        "truncated": finish.truncated,
        "stop_type": finish.stop_type,
        "stopping_word": finish.stopping_word,
        "tokens_cached": finish.tokens_cached,
        "timings": timings_json(timings),
    }
    if not stream and choice.has_probs:
        body["completion_probabilities"] = Items(lambda: probs_json(choice.probs, job.post_sampling_probs))
    return body


def partial_json(job: Job, output: Output) -> dict[str, Any]:
    """One event of a stream."""
    timings = output.timings
    body: dict[str, Any] = {
        "index": output.index,
        "content": output.text,
        "tokens": output.tokens,
        "stop": False,
        "id_slot": output.id_slot,
        "tokens_predicted": timings.predicted_n if timings else 0,
        "tokens_evaluated": len(job.prompt),
    }
    if output.progress is not None:
        body["prompt_progress"] = progress_json(output.progress)
    if job.timings_per_token and timings is not None:
        body["timings"] = timings_json(timings)
    if probs := output.probs:
        body["completion_probabilities"] = list(probs_json(probs, job.post_sampling_probs))
    return body


def _settings(job: Job, fields: SamplingFields, stream: bool) -> dict[str, Any]:
    grammar = fields.grammar or ""
    settings = settings_json(job.settings, grammar=grammar, stream=stream, timings_per_token=job.timings_per_token)
    in_content = stream and job.reading.get("reasoning_format") == "deepseek-legacy"
    return {**settings, **job.reading, "reasoning_in_content": in_content}


async def complete(state: ServerState, model: Model, request: Answered, jobs: list[Job]) -> Any:
    """The answer, or the list of answers where there are several prompts or choices."""
    check_logprobs(state, model, jobs, limit_name(request) or "n_predict")
    found = [(job, choice) for job in jobs for choice in await collect(state, model, job)]

    def answer(index: int, job: Job, choice: Choice) -> dict[str, Any]:
        body = final_json(model, job, request, choice, stream=False)
        return _select({**body, "index": index}, request.response_fields)

    if len(found) == 1:
        return answer(0, *found[0])
    # Each answer says again what was asked, which may be long.
    return Items(lambda: (answer(index, *pair) for index, pair in enumerate(found)))


class CompletionEvents:
    """The events of a job's stream: one for each token, one at the end of each choice."""

    def __init__(self, model: Model, request: Answered, job: Job, first: int) -> None:
        """`first` is the index of the first choice."""
        self._model, self._request, self._job = model, request, job
        self._choices = [Choice(first + index) for index in range(job.choices)]

    def take(self, output: Output) -> bytes:
        """The events of an output."""
        choice = self._choices[output.index]
        choice.follow(output)
        is_last = output.is_last
        data = b""
        if output.text or (not is_last and (output.progress is not None or output.probs)):
            data = event({**partial_json(self._job, output), "index": choice.index})
        if is_last:
            final = final_json(self._model, self._job, self._request, choice, stream=True)
            data += event(_select(final, self._request.response_fields))
        return data

    def end(self) -> Iterable[bytes]:
        """Nothing: all is said with the last events."""
        return ()


def stream_parts(model: Model, request: Answered, jobs: list[Job]) -> list[tuple[Job, Events]]:
    """The jobs of a stream, each with what writes its events."""
    firsts = accumulate((job.choices for job in jobs), initial=0)
    return [(job, CompletionEvents(model, request, job, first)) for job, first in zip(jobs, firsts, strict=False)]


def _select(body: dict[str, Any], fields: list[str] | None) -> dict[str, Any]:
    """Only the fields asked for, by the names asked for; `a/b` is b in a."""
    if not fields:
        return body
    out: dict[str, Any] = {}
    for path in fields:
        value: Any = body
        for part in path.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            out[path] = value
    return out
