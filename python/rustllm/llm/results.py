"""What a model answers: small values that show themselves well in a terminal and in a notebook."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from rustllm.llm import display

T = TypeVar("T")

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its natural log probability before sampling, and the most probable ones at its place."""

    token_id: int
    text: str
    logprob: float
    #: Place among all tokens, of which the most probable is 1; known of prompts only.
    rank: int | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens that a request took, and the milliseconds of its two parts."""

    prompt_tokens: int
    #: Of all answers to the prompt.
    completion_tokens: int
    #: Tokens of the prompt that the cache had.
    cached_tokens: int = 0
    prompt_ms: float = 0.0
    completion_ms: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Prompt and answers."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class CompletionOutput:
    """One answer to a prompt."""

    index: int
    text: str
    token_ids: list[int] = field(repr=False)
    #: `stop`: the model's end or a stop text; `length`: a limit.
    finish_reason: FinishReason
    #: The stop text that ended it, if one did.
    stop_reason: str | None = None
    #: With `logprobs`, for each of `token_ids`, those of a stop text included.
    logprobs: list[TokenLogprob] | None = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Completion:
    """A prompt with its answers; `text`, `token_ids`, `finish_reason` and `logprobs` are the first answer's."""

    #: None where the prompt was given as token ids.
    prompt: str | None
    prompt_token_ids: list[int]
    #: The answers, `n` of them.
    outputs: list[CompletionOutput]
    usage: Usage
    #: With `prompt_logprobs`, for each token of the prompt; None for the first.
    prompt_logprobs: list[TokenLogprob | None] | None = None

    @property
    def text(self) -> str:
        """The first answer."""
        return self.outputs[0].text

    @property
    def token_ids(self) -> list[int]:
        """The first answer's tokens."""
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first answer ended."""
        return self.outputs[0].finish_reason

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """With `logprobs`, those of the first answer's tokens."""
        return self.outputs[0].logprobs

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        shown = display.short(self.prompt) if self.prompt is not None else f"{len(self.prompt_token_ids)} tokens"
        more = f", outputs={len(self.outputs)}" if len(self.outputs) > 1 else ""
        end = f"finish_reason={self.finish_reason!r}, tokens={self.usage.completion_tokens}"
        return f"Completion(prompt={shown}, text={display.short(self.text)}, {end}{more})"

    def _repr_html_(self) -> str:
        return display.completion_html(self.prompt, [(one.text, one.finish_reason) for one in self.outputs])


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    name: str
    #: The arguments as JSON text, exactly as the model wrote them.
    arguments: str

    @property
    def args(self) -> dict[str, Any]:
        """The arguments. ValueError where an answer that was cut off left them incomplete.

        >>> ToolCall("1", "add", '{"a": 1, "b": 2}').args
        {'a': 1, 'b': 2}
        """
        found: dict[str, Any] = json.loads(self.arguments or "{}")
        return found


@dataclass(frozen=True, repr=False)
class Reply(Generic[T]):
    """The answer to a chat."""

    content: str
    finish_reason: FinishReason
    usage: Usage
    #: What the model thought before it answered.
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    #: With `response_format`: the pydantic model, or the value of the JSON; None where the answer was cut off
    #: or calls tools instead.
    parsed: T | None = None
    #: The answer's tokens.
    token_ids: list[int] = field(default_factory=list)
    #: With `logprobs`, for each token.
    logprobs: list[TokenLogprob] | None = None
    #: Further answers, with `n` above 1.
    alternatives: list[Reply[T]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The same as `content`."""
        return self.content

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message, to go on with the chat.

        >>> Reply("Hello", "stop", Usage(3, 1)).message
        {'role': 'assistant', 'content': 'Hello'}
        """
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning_content:
            message["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        return message

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        parts = [f"content={display.short(self.content)}"]
        if self.reasoning_content:
            parts.append(f"reasoning_content={display.short(self.reasoning_content)}")
        if self.tool_calls:
            parts.append(f"tool_calls={self.tool_calls!r}")
        if self.parsed is not None:
            parts.append(f"parsed={self.parsed!r}")
        parts += [f"finish_reason={self.finish_reason!r}", f"tokens={self.usage.completion_tokens}"]
        return f"Reply({', '.join(parts)})"

    def _repr_markdown_(self) -> str:
        return display.reply_markdown(
            self.content, self.reasoning_content, [(c.name, c.arguments) for c in self.tool_calls]
        )


@dataclass(frozen=True)
class Delta:
    """What is new of one answer of a stream."""

    text: str
    #: The prompt that it belongs to, and which of its `n` answers.
    request: int = 0
    index: int = 0
    token_ids: list[int] = field(default_factory=list, repr=False)
    #: Set in the last delta of an answer.
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] | None = field(default=None, repr=False)
    #: Tokens and times of this one answer, in its last delta.
    usage: Usage | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ToolCallDelta:
    """What is new of a call: its id and name when it begins, then pieces of its arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True)
class ChatDelta:
    """What is new of one answer of a chat's stream."""

    content: str = ""
    reasoning_content: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)
    #: The conversation that it belongs to, and which of its `n` answers.
    request: int = 0
    index: int = 0
    #: The answer's tokens since its delta before. Not every token gives text at once.
    token_ids: list[int] = field(default_factory=list, repr=False)
    #: Set in the last delta of an answer.
    finish_reason: FinishReason | None = None
    #: Tokens and times of this one answer, in its last delta.
    usage: Usage | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The same as `content`."""
        return self.content

    def __str__(self) -> str:
        return self.content


@dataclass(frozen=True, repr=False)
class Embedding:
    """The vector of a text: a sequence of floats, of which NumPy makes an array."""

    vector: list[float]
    n_tokens: int

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, index: int) -> float:
        return self.vector[index]

    def __iter__(self) -> Iterator[float]:
        return iter(self.vector)

    def similarity(self, other: Embedding) -> float:
        """The cosine of the angle between both, -1 to 1; 0 where one has no length. ValueError where their
        sizes differ.

        >>> round(Embedding([1.0, 0.0], 1).similarity(Embedding([3.0, 4.0], 1)), 2)
        0.6
        """
        if len(self) != len(other):
            raise ValueError(f"other: it has {len(other)} values; this one has {len(self)}")
        dot = math.fsum(a * b for a, b in zip(self, other, strict=True))
        lengths = math.hypot(*self) * math.hypot(*other)
        return dot / lengths if lengths else 0.0

    def __repr__(self) -> str:
        return f"Embedding({display.numbers(self.vector)}, n_tokens={self.n_tokens})"


@dataclass(frozen=True, repr=False)
class Score:
    """How probable a text is to the model."""

    #: The tokens that are scored.
    token_ids: list[int]
    #: The natural log probability of each, given all before it.
    logprobs: list[float]
    #: The texts of the tokens.
    tokens: list[str]

    @property
    def total(self) -> float:
        """The log probability of all of them together, in nats."""
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """e to the mean negative log probability; NaN where nothing is scored."""
        return math.exp(-self.total / len(self.logprobs)) if self.logprobs else math.nan

    def __repr__(self) -> str:
        return f"Score(total={self.total:.4g}, perplexity={self.perplexity:.4g}, tokens={len(self.logprobs)})"

    def _repr_html_(self) -> str:
        return display.score_html(self.tokens, self.logprobs)


@dataclass(frozen=True)
class Ranked:
    """A document with its relevance to a query, higher is better."""

    #: Its place among the documents that were given.
    index: int
    score: float
    document: str
