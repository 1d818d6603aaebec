"""From the arguments of `LLM`'s and `AsyncLLM`'s methods to jobs, and back to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from rustllm._rustllm import UnsupportedError
from rustllm.choice import Choice
from rustllm.invalid import invalid
from rustllm.llm import answered
from rustllm.llm.jobs import ChatOptions, Job, Prompt, per_job, placed, response_format
from rustllm.llm.loaded import Loaded
from rustllm.llm.results import Completion, Embedding, Ranked, Reply, Score
from rustllm.llm.sampling_params import SamplingParams

#: Parameters of one call: for all of its prompts, or one for each.
Params = SamplingParams | Sequence[SamplingParams] | None


class ChatKeywords(TypedDict, total=False):
    """What `chat` may be told beside the messages; names and meanings are the server's."""

    #: Functions that the model may call, in OpenAI's form.
    tools: Sequence[Mapping[str, Any]]
    #: `auto` (the default), `none`, `required`, or `{"type": "function", "function": {"name": …}}`.
    tool_choice: str | Mapping[str, Any]
    #: Whether an answer may have several calls.
    parallel_tool_calls: bool
    #: Let the model think or not, for templates that read it.
    enable_thinking: bool
    #: Tokens that a thought may take; -1 is unlimited.
    thinking_budget_tokens: int
    #: How long to think, for templates that read it.
    reasoning_effort: str
    #: `none` leaves thoughts in the text, `deepseek` and `auto` put them into `reasoning_content`.
    reasoning_format: str
    #: Further values for the template.
    chat_template_kwargs: dict[str, Any]
    #: Open the assistant's turn; true by default.
    add_generation_prompt: bool
    #: Continue the last message instead of answering it.
    continue_final_message: bool


@dataclass(frozen=True)
class Work:
    """The jobs of a call."""

    jobs: list[Job]
    #: What the call's errors name one of its jobs by, where there are several.
    place: str

    def error(self, number: int, error: Exception) -> Exception:
        """The error of a job, with its place."""
        return placed(error, f"{self.place}[{number}]") if len(self.jobs) > 1 else error


class Requests:
    """Makes the jobs of one model."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._tokenizer = loaded.native.tokenizer

    def generate(self, prompts: Prompt | Sequence[Prompt], params: Params) -> Work:
        """Prompts to continue."""
        self._check_generates()
        several = several_prompts(prompts, "prompts")
        given = per_job(params, len(several))
        return self._work("prompts", several, lambda index: self._loaded.jobs.of_prompt(several[index], given[index]))

    def chat(self, messages: Any, params: Params, form: Any, options: ChatKeywords) -> tuple[Work, bool]:
        """Conversations to answer, and whether there are several."""
        self._check_generates()
        for name in options:
            if name not in ChatKeywords.__annotations__:
                raise TypeError(f"chat() got an unexpected keyword argument {name!r}")
        many = isinstance(messages, Sequence) and bool(messages) and isinstance(messages[0], (list, tuple))
        several = list(messages) if many else [messages]
        given = per_job(params, len(several))
        found = response_format(form)
        values = cast("dict[str, Any]", dict(options))
        reasoning = values.pop("reasoning_format", None)
        if values.get("tools") is not None:
            values["tools"] = list(values["tools"])

        def make(index: int) -> Job:
            chat = several[index]
            listed = [dict(one) if isinstance(one, Mapping) else one for one in chat] if _is_list(chat) else chat
            return self._loaded.jobs.of_chat(ChatOptions(listed, **values), given[index], found, reasoning)

        return self._work("messages", several, make), many

    def score(self, texts: Prompt | Sequence[Prompt], prompts: Prompt | Sequence[Prompt] | None) -> ScoreWork:
        """Texts whose tokens are to be scored, each behind its prompt if there are any."""
        self._check_generates()
        several = several_prompts(texts, "texts")
        before = [None] * len(several) if prompts is None else several_prompts(prompts, "prompts")
        if len(before) not in (1, len(several)):
            raise ValueError(
                f"prompts: there are {len(before)} for {len(several)} texts; allowed: one, or one for each"
            )
        if len(before) == 1:
            before = before * len(several)
        params = SamplingParams(max_tokens=0, prompt_logprobs=0)
        firsts = [0] * len(several)

        def make(index: int) -> Job:
            head, text = before[index], several[index]
            jobs = self._loaded.jobs
            if head is None:
                return jobs.of_prompt(text, params)
            tokens = jobs.tokens(head, "prompts")
            if isinstance(head, str) and isinstance(text, str):
                # Tokenized together, as the model has learnt it; a token over the joint is the text's.
                both = jobs.tokens(head + text, "texts")
                firsts[index] = _common(tokens, both)
                return jobs.of_prompt(both, params)
            firsts[index] = len(tokens)
            more = self._tokenizer.encode(text, add_special=False) if isinstance(text, str) else text
            return jobs.of_prompt([*tokens, *more], params)

        return ScoreWork(self._work("texts", several, make), firsts)

    def embed(self, texts: Prompt | Sequence[Prompt]) -> list[list[int]]:
        """The tokens of texts to embed."""
        self._loaded.check()
        if self._loaded.native.pooling == "rank":
            raise UnsupportedError("this model ranks documents and has no vectors; use rerank")
        return [self._loaded.jobs.tokens(text, "texts") for text in several_prompts(texts, "texts")]

    def rerank(self, query: str, documents: Sequence[str], top_n: int | None) -> list[list[int]]:
        """The tokens of a query with each of the documents."""
        self._loaded.check()
        if self._loaded.native.pooling != "rank":
            raise UnsupportedError("this model does not rank documents; load one that does, with pooling='rank'")
        if top_n is not None and top_n < 0:
            raise invalid("top_n", f"{top_n} is out of range; allowed: 0 or above")
        return [self._tokenizer.encode_pair(query, text) for text in documents]

    def _check_generates(self) -> None:
        self._loaded.check()
        if not self._loaded.native.info["generates"]:
            raise UnsupportedError("this model embeds texts and does not generate any; use embed")

    def _work(self, place: str, several: Sequence[Any], make: Any) -> Work:
        jobs = []
        for index in range(len(several)):
            try:
                jobs.append(make(index))
            except Exception as error:
                raise (placed(error, f"{place}[{index}]") if len(several) > 1 else error) from None
        return Work(jobs, place)

    # From what came of a job to its result.

    def completion(self, job: Job, choices: Sequence[Choice]) -> Completion:
        """Of `generate`."""
        return answered.completion(job, choices)

    def reply(self, job: Job, choices: Sequence[Choice]) -> Reply[Any]:
        """Of `chat`."""
        return answered.reply(job, choices)


@dataclass(frozen=True)
class ScoreWork:
    """Texts to score."""

    work: Work
    #: The first token of each that is to be scored.
    firsts: list[int]

    def results(self, found: Sequence[Sequence[Choice]]) -> list[Score]:
        """Of the choices of each job."""
        rows = zip(self.work.jobs, found, self.firsts, strict=True)
        return [answered.score(job, choices, first) for job, choices, first in rows]


def embeddings(tokens: Sequence[Sequence[int]], vectors: Sequence[Sequence[bytes]]) -> list[Embedding]:
    """Of `embed`. UnsupportedError where a text has several vectors."""
    if any(len(found) != 1 for found in vectors):
        raise UnsupportedError("with pooling='none' a text has a vector for each token; load with pooling='mean'")
    return [answered.embedding(ids, found) for ids, found in zip(tokens, vectors, strict=True)]


def ranked(documents: Sequence[str], vectors: Sequence[Sequence[bytes]], top_n: int | None) -> list[Ranked]:
    """Of `rerank`, the best first; of equal scores the earlier document."""
    scores = [answered.embedding((), found).vector[0] for found in vectors]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
    return [Ranked(index, scores[index], documents[index]) for index in order]


def several_prompts(value: Prompt | Sequence[Prompt], param: str) -> list[Prompt]:
    """Prompts as a list: a text, or a list that begins with a token id, is one."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise invalid(param, f"{value!r:.60} is not a prompt; expected a text, token ids, or a list of these")
    if value and isinstance(value[0], int):
        return [cast("Sequence[int]", value)]
    return list(cast("Sequence[Prompt]", value))


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many items both begin with."""
    return next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), len(first))
