"""Running one request: what all generation endpoints collect from the engine's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rustllm._rustllm import Grammar, Output, SamplingParams, Timings, TokenProb, Watch
from rustllm.chat.plan import Plan
from rustllm.choice import Choice, PromptProb, TokenProbs
from rustllm.engine import Name
from rustllm.server.production import start_job
from rustllm.server.state import Model, ServerState


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

    @property
    def n_probs(self) -> int:
        """The most probable tokens that are reported with each token."""
        return int(self.settings["n_probs"])

    @property
    def post_sampling_probs(self) -> bool:
        """Whether they are those after the sampler chain."""
        return bool(self.settings["post_sampling_probs"])


def check_logprobs(state: ServerState, model: Model, jobs: Sequence[Job], tokens: str = "n_predict") -> None:
    """Refuses answers that would hold too many log probabilities until they are whole; `tokens` is the field that
    limits their length. Raises InvalidRequestError."""
    first = jobs[0]
    limit, n_ctx = int(first.settings["n_predict"]), model.native.n_ctx
    # A context that is shifted bounds nothing but what has no other bound.
    longest = limit if limit >= 0 and (limit < n_ctx or state.settings.context_shift) else n_ctx
    count = len(jobs) * first.choices * longest * first.n_probs
    count += sum(len(job.prompt) * (job.settings["prompt_logprobs"] or 0) for job in jobs)
    what = f"{len(jobs) * first.choices} answers (n) of up to {longest} tokens ({tokens}) with {first.n_probs} each"
    state.settings.limits.check_count("answer_logprobs", "n_probs", count, what)


async def collect(state: ServerState, model: Model, job: Job) -> list[Choice]:
    """All choices of a job, finished. Being cancelled aborts it. Raises InvalidRequestError where a context that
    is shifted lets it have too many log probabilities after all."""
    limits, n_kept = state.settings.limits, 0
    choices = [Choice(index, keeps_probs=job.n_probs > 0) for index in range(job.choices)]

    def take(output: Output) -> None:
        nonlocal n_kept
        n_kept += job.n_probs
        limits.check_count("answer_logprobs", "n_probs", n_kept, "those of the answers so far")
        choices[output.index].take(output)

    # An output of many tokens would make the objects of all their probabilities at once.
    async with start_job(model, job, take, whole=job.n_probs == 0) as running:
        await running.ended
    for choice in choices:
        choice.drop_stop_word_probs(model.native.tokenizer)
    return choices


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


def prompt_logprobs_json(probs: Iterable[PromptProb], n: int) -> Iterator[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token of the prompt itself and the `n` most probable."""

    def entry(prob: TokenProb, rank: int) -> dict[str, Any]:
        return {"logprob": prob.value, "rank": rank, "decoded_token": prob.bytes.decode("utf-8", "replace")}

    def place(own: TokenProb, rank: int, top: list[TokenProb]) -> dict[str, Any]:
        best = {str(prob.token): entry(prob, index) for index, prob in enumerate(top[:n], 1)}
        return {str(own.token): entry(own, rank), **best}

    # Nothing stands before the first token.
    yield None
    yield from (place(*prob) for prob in probs)


def probs_json(probs: Iterable[TokenProbs], post_sampling: bool) -> Iterator[dict[str, Any]]:
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

    return ({**entry(own), top: [entry(other) for other in best]} for own, best in probs)
