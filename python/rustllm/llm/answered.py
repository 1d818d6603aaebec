"""From the engine's outputs to results."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from rustllm._rustllm import Output, TokenProb
from rustllm.chat.plan import AnswerReader, read_answer
from rustllm.chat.syntax.events import CallArguments, CallStart, Content, Event, Reasoning
from rustllm.choice import Choice, PromptProb, TokenProbs, chat_finish_reason, finish_reason
from rustllm.llm.jobs import Job
from rustllm.llm.results import (
    ChatDelta,
    Completion,
    CompletionOutput,
    Delta,
    Embedding,
    FinishReason,
    Reply,
    Score,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


def completion(job: Job, choices: Sequence[Choice]) -> Completion:
    """The answers to a prompt."""
    outputs = [_output(job, choice) for choice in choices]
    n = job.params.prompt_logprobs
    of_prompt = None if n is None else [None, *(_prompt_logprob(prob, n) for prob in choices[0].prompt_probs)]
    return Completion(job.prompt, job.tokens, outputs, _usage(job, choices), of_prompt)


def _output(job: Job, choice: Choice) -> CompletionOutput:
    assert choice.finish is not None
    reason: FinishReason = "length" if finish_reason(choice) == "length" else "stop"
    word = choice.finish.stopping_word or None
    return CompletionOutput(choice.index, choice.text, choice.tokens, reason, word, _logprobs(job, choice.probs))


def reply(job: Job, choices: Sequence[Choice]) -> Reply[Any]:
    """The answer to a chat, with its alternatives. ValueError where the answer is whole and `parse` refuses it."""
    usage = _usage(job, choices)
    first, *others = (_reply(job, choice, usage) for choice in choices)
    first.alternatives.extend(others)
    return first


def _reply(job: Job, choice: Choice, usage: Usage) -> Reply[Any]:
    answer = read_answer(job.plan, choice.text)
    calls = [ToolCall(call.id, call.name, call.arguments) for call in answer.calls or []]
    reason = _reason(chat_finish_reason(choice, bool(calls)))
    parsed = None
    if job.parse is not None and reason == "stop" and not calls:
        parsed = job.parse(answer.content)
    probs = _logprobs(job, choice.probs)
    return Reply(answer.content, reason, usage, answer.reasoning, calls, parsed, choice.tokens, probs)


def _reason(name: str) -> FinishReason:
    return "length" if name == "length" else "tool_calls" if name == "tool_calls" else "stop"


def _usage(job: Job, choices: Sequence[Choice]) -> Usage:
    timings = [found for choice in choices if (found := choice.timings) is not None]
    return Usage(
        prompt_tokens=len(job.tokens),
        completion_tokens=sum(one.predicted_n for one in timings),
        cached_tokens=timings[0].cache_n if timings else 0,
        prompt_ms=timings[0].prompt_ms if timings else 0.0,
        completion_ms=max((one.predicted_ms for one in timings), default=0.0),
    )


def _logprobs(job: Job, probs: Iterable[TokenProbs]) -> list[TokenLogprob] | None:
    n = job.params.logprobs
    return None if n is None else [_logprob(own, top[:n]) for own, top in probs]


def _logprob(own: TokenProb, top: Sequence[TokenProb] = (), rank: int | None = None) -> TokenLogprob:
    best = tuple(_logprob(one) for one in top)
    return TokenLogprob(own.token, own.bytes.decode("utf-8", "replace"), own.value, rank, best)


def _prompt_logprob(prob: PromptProb, n: int) -> TokenLogprob:
    own, rank, top = prob
    return _logprob(own, top[:n], rank)


def score(job: Job, choices: Sequence[Choice], first: int) -> Score:
    """The probabilities of a prompt's tokens from `first` on."""
    probs = list(islice(choices[0].prompt_probs, max(0, first - 1), None))
    texts = [own.bytes.decode("utf-8", "replace") for own, _, _ in probs]
    return Score([own.token for own, _, _ in probs], [own.value for own, _, _ in probs], texts)


def embedding(tokens: Sequence[int], vectors: Sequence[bytes]) -> Embedding:
    """The vector of a text."""
    return Embedding(array("f", vectors[0]).tolist(), len(tokens))


class Deltas:
    """The deltas of a stream of prompts."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def of(self, number: int, output: Output) -> list[Delta]:
        """The deltas of an output of job `number`."""
        job = self._jobs[number]
        reason, usage = None, None
        if output.is_last:
            ended = _ended(output)
            reason, usage = _reason(finish_reason(ended)), _usage(job, [ended])
        if not output.text and not output.tokens and reason is None:
            return []
        probs = _logprobs(job, output.probs)
        return [Delta(output.text, number, output.index, output.tokens, reason, probs, usage)]


class ChatDeltas:
    """The deltas of a stream of conversations."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._readers: dict[tuple[int, int], AnswerReader] = {}
        self._calling: set[tuple[int, int]] = set()
        #: Tokens that have not been in a delta: those of a text that may become a call are held back, for one.
        self._tokens: dict[tuple[int, int], list[int]] = {}

    def of(self, number: int, output: Output) -> list[ChatDelta]:
        """The deltas of an output of job `number`."""
        key = (number, output.index)
        tokens = [*self._tokens.pop(key, ()), *output.tokens]
        found = [self._delta(key, event) for event in self._events(key, output)]
        if output.is_last:
            ended = _ended(output)
            reason = _reason(chat_finish_reason(ended, key in self._calling))
            usage = _usage(self._jobs[number], [ended])
            found.append(ChatDelta(request=key[0], index=key[1], finish_reason=reason, usage=usage))
        if found:
            found[0].token_ids.extend(tokens)
        elif tokens:
            self._tokens[key] = tokens
        return found

    def _events(self, key: tuple[int, int], output: Output) -> list[Event]:
        plan = self._jobs[key[0]].plan
        if plan is None:
            return [Content(output.text)] if output.text else []
        if key not in self._readers:
            raw = plan.reasoning in ("none", "deepseek-legacy")
            self._readers[key] = plan.reader(raw_thoughts=raw)
        reader = self._readers[key]
        events = reader.push(output.text) if output.text else []
        return [*events, *(reader.end() if output.is_last else [])]

    def _delta(self, key: tuple[int, int], event: Event) -> ChatDelta:
        request, index = key
        if isinstance(event, Content):
            return ChatDelta(event.text, request=request, index=index)
        if isinstance(event, Reasoning):
            return ChatDelta(reasoning_content=event.text, request=request, index=index)
        if isinstance(event, CallArguments):
            call = ToolCallDelta(event.index, arguments=event.text)
        else:
            assert isinstance(event, CallStart)
            self._calling.add(key)
            call = ToolCallDelta(event.index, event.id, event.name)
        return ChatDelta(tool_calls=[call], request=request, index=index)


def _ended(output: Output) -> Choice:
    return Choice(output.index, finish=output.finish, latest=output)
