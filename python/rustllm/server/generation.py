"""Running one request: what all generation endpoints collect from the engine's outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rustllm._rustllm import Finish, Grammar, Output, SamplingParams, Timings, TokenProb, Watch
from rustllm.chat.plan import Plan
from rustllm.engine import Name
from rustllm.server.production import start_job
from rustllm.server.state import Model

#: A token of a prompt, its place among all tokens, and the most probable ones there.
PromptProb = tuple[TokenProb, int, list[TokenProb]]


@dataclass
class Job:
    """A request that is ready for the engine."""

    prompt: list[int]
    params: SamplingParams
    grammar: Grammar | None
    #: Where thoughts and the grammar start, if the engine is to look for that.
    watch: Watch | None = field(default=None, kw_only=True)
    #: How answers are read, if they can be more than text.
    plan: Plan | None = field(default=None, kw_only=True)
    #: What the client knows the answer by while it is made.
    name: Name | None = field(default=None, kw_only=True)
    #: As reported: all settings by name.
    settings: dict[str, Any]
    #: As reported: how the answer is constrained and read.
    reading: dict[str, Any] = field(default_factory=dict, kw_only=True)
    return_tokens: bool = False
    timings_per_token: bool = False
    verbose: bool = False

    @property
    def choices(self) -> int:
        """How many answers are generated."""
        return int(self.settings["n"])


@dataclass
class Choice:
    """One finished or growing answer."""

    index: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    probs: list[tuple[TokenProb, list[TokenProb]]] = field(default_factory=list)
    #: The tokens of the prompt behind its first, where they are asked for.
    prompt_probs: list[PromptProb] = field(default_factory=list)
    finish: Finish | None = None
    #: The output that has the newest timings. They are read where they are wanted only: most tokens
    #: of a stream need nothing but their text.
    latest: Output | None = None

    @property
    def timings(self) -> Timings | None:
        """Counts and durations so far."""
        return None if self.latest is None else self.latest.timings

    def take(self, output: Output) -> None:
        """Takes an output in."""
        if (prob := output.prompt_prob) is not None:
            self.prompt_probs.append(prob)
            return
        self.follow(output)
        self.text += output.text
        self.tokens += output.tokens
        self.probs += output.probs

    def follow(self, output: Output) -> None:
        """Takes in how far it is, which is all that a stream needs to know of what it has sent."""
        if output.is_last:
            self.finish = output.finish
        self.latest = output


async def collect(model: Model, job: Job) -> list[Choice]:
    """All choices of a job, finished. Being cancelled aborts it."""
    choices = [Choice(index) for index in range(job.choices)]

    def take(output: Output) -> None:
        choices[output.index].take(output)

    with start_job(model, job, take) as running:
        await running.ended
    for choice in choices:
        _drop_stop_word_probs(model, choice)
    return choices


def _drop_stop_word_probs(model: Model, choice: Choice) -> None:
    """The tokens of a stop string are not part of the answer."""
    word = choice.finish.stopping_word if choice.finish else ""
    if word and choice.probs:
        n = len(model.native.tokenizer.encode(word, add_special=False, parse_special=False))
        del choice.probs[max(0, len(choice.probs) - n) :]


def timings_json(timings: Timings) -> dict[str, Any]:
    """llama-server's timings: counts, milliseconds, rates."""

    def rate(n: int, ms: float) -> float:
        return 1e3 * n / ms if ms > 0 else 0.0

    return {
        "cache_n": timings.cache_n,
        "prompt_n": timings.prompt_n,
        "prompt_ms": timings.prompt_ms,
        "prompt_per_token_ms": timings.prompt_ms / max(timings.prompt_n, 1),
        "prompt_per_second": rate(timings.prompt_n, timings.prompt_ms),
        "predicted_n": timings.predicted_n,
        "predicted_ms": timings.predicted_ms,
        "predicted_per_token_ms": timings.predicted_ms / max(timings.predicted_n, 1),
        "predicted_per_second": rate(timings.predicted_n, timings.predicted_ms),
    }


def progress_json(progress: tuple[int, int, int, float]) -> dict[str, Any]:
    """llama-server's `prompt_progress`."""
    total, cache, processed, ms = progress
    return {"total": total, "cache": cache, "processed": processed, "time_ms": round(ms)}


def usage_json(job: Job, choices: list[Choice]) -> dict[str, Any]:
    """OpenAI's token counts over all choices."""
    completion = sum(choice.timings.predicted_n for choice in choices if choice.timings)
    cached = next((choice.timings.cache_n for choice in choices if choice.timings), 0)
    return {
        "prompt_tokens": len(job.prompt),
        "completion_tokens": completion,
        "total_tokens": len(job.prompt) + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def finish_reason(choice: Choice) -> str:
    """OpenAI's name for the end of a choice."""
    return "length" if choice.finish is None or choice.finish.stop_type == "limit" else "stop"


def prompt_logprobs_json(probs: list[PromptProb], n: int) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token of the prompt itself and the `n` most probable."""

    def entry(prob: TokenProb, rank: int) -> dict[str, Any]:
        return {"logprob": prob.value, "rank": rank, "decoded_token": prob.bytes.decode("utf-8", "replace")}

    def place(own: TokenProb, rank: int, top: list[TokenProb]) -> dict[str, Any]:
        best = {str(prob.token): entry(prob, index) for index, prob in enumerate(top[:n], 1)}
        return {str(own.token): entry(own, rank), **best}

    # Nothing stands before the first token.
    return [None, *(place(*prob) for prob in probs)]


def probs_json(probs: list[tuple[TokenProb, list[TokenProb]]], post_sampling: bool) -> list[dict[str, Any]]:
    """Probabilities in llama-server's shape, which is OpenAI's with token ids."""
    value, top = ("prob", "top_probs") if post_sampling else ("logprob", "top_logprobs")

    def entry(prob: TokenProb) -> dict[str, Any]:
        data = prob.bytes
        return {
            "id": prob.token,
            "token": data.decode("utf-8", "replace"),
            "bytes": list(data),
            value: prob.value,
        }

    return [{**entry(own), top: [entry(other) for other in best]} for own, best in probs]
