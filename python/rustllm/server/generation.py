"""Running one request: what all generation endpoints collect from the engine's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rustllm._rustllm import Grammar, Output, SamplingParams, Timings, TokenProb, Watch
from rustllm.chat.plan import Plan
from rustllm.choice import Choice, PromptProb, TokenProbs
from rustllm.engine import Name
from rustllm.limits import Limits
from rustllm.server.production import start_job
from rustllm.server.state import Model, ServerState

#: Tokens that are reckoned with for an answer without a limit.
UNSAID_TOKENS = 1024


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
    #: Counts its log probabilities, where they are kept until the answer is whole.
    kept: KeptProbs | None = field(default=None, kw_only=True)

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


@dataclass
class KeptProbs:
    """How many log probabilities the answers of a request hold until they are whole."""

    limits: Limits
    n: int = 0

    def take(self, output: Output, n_probs: int) -> None:
        """Counts those of an output. Raises InvalidRequestError where they are too many."""
        if n_probs and output.kind == "token":
            self.n += len(output.tokens) * n_probs
            self.limits.check_count("answer_logprobs", "n_probs", self.n, "those of the answers so far")


def check_logprobs(state: ServerState, model: Model, jobs: Sequence[Job], tokens: str = "n_predict") -> None:
    """Refuses answers that would hold too many log probabilities until they are whole, and has others counted while
    they are made; `tokens` is the field that limits their length. Raises InvalidRequestError."""
    first, limits = jobs[0], state.settings.limits
    limit = int(first.settings["n_predict"])
    # One without a limit mostly ends of its own.
    longest = limit if limit >= 0 else UNSAID_TOKENS
    if not state.settings.context_shift:
        longest = min(longest, model.native.n_ctx - min(len(job.prompt) for job in jobs))
    n_answers, n_prompt = len(jobs) * first.choices, sum(len(job.prompt) for job in jobs)
    of_prompts = n_prompt * int(first.settings["prompt_logprobs"] or 0)
    limits.check_count("answer_logprobs", "prompt_logprobs", of_prompts, f"those of {n_prompt} tokens of prompts")
    count = n_answers * longest * first.n_probs + of_prompts
    what = f"{n_answers} answers (n) of up to {longest} tokens ({tokens}) with {first.n_probs} each"
    limits.check_count("answer_logprobs", "n_probs", count, what)
    kept = KeptProbs(limits, of_prompts)
    for job in jobs:
        job.kept = kept


async def collect(state: ServerState, model: Model, job: Job) -> list[Choice]:
    """All choices of a job, finished. Being cancelled aborts it. Raises InvalidRequestError where answers without a
    limit come to have too many log probabilities."""
    choices = [Choice(index, keeps_probs=job.n_probs > 0) for index in range(job.choices)]

    def take(output: Output) -> None:
        if job.kept is not None:
            job.kept.take(output, job.n_probs)
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
