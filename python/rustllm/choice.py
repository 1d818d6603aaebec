"""One answer of a request while it grows, collected from the engine's outputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from rustllm._rustllm import Finish, Output, Timings, Tokenizer, TokenProb

#: A token of an answer, and the most probable ones in its place.
TokenProbs = tuple[TokenProb, list[TokenProb]]

#: A token of a prompt, its place among all tokens, and the most probable ones there.
PromptProb = tuple[TokenProb, int, list[TokenProb]]


@dataclass
class Choice:
    """One finished or growing answer."""

    index: int
    tokens: list[int] = field(default_factory=list)
    #: Whether the probabilities of its tokens are wanted of it.
    keeps_probs: bool = True
    finish: Finish | None = None
    #: The output that has the newest timings. They are read where they are wanted only: most tokens
    #: of a stream need nothing but their text.
    latest: Output | None = None
    #: What has probabilities, of the answer and of the prompt. An output holds each in eight bytes, the objects
    #: that it makes of them take ten times as much.
    _scored: list[Output] = field(default_factory=list, repr=False)
    _prompt_scored: list[Output] = field(default_factory=list, repr=False)
    #: Its text in parts: joined each time, a long one would be copied for every token.
    _texts: list[str] = field(default_factory=list, repr=False)
    #: How many of the last tokens are those of a stop string, which is no part of the answer.
    _n_stop: int = 0

    @property
    def timings(self) -> Timings | None:
        """Counts and durations so far."""
        return None if self.latest is None else self.latest.timings

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self._texts)

    @property
    def probs(self) -> Iterator[TokenProbs]:
        """The probabilities of its tokens, if they were asked for; they are made while they are read."""
        waiting: deque[TokenProbs] = deque()
        for output in self._scored:
            waiting.extend(output.probs)
            while len(waiting) > self._n_stop:
                yield waiting.popleft()

    @property
    def has_probs(self) -> bool:
        """Whether there are any."""
        return next(self.probs, None) is not None

    @property
    def prompt_probs(self) -> Iterator[PromptProb]:
        """The tokens of the prompt behind its first, where they are asked for."""
        for output in self._prompt_scored:
            if (prob := output.prompt_prob) is not None:
                yield prob

    def take(self, output: Output) -> None:
        """Takes an output in."""
        if output.kind == "prompt":
            self._prompt_scored.append(output)
            return
        self.follow(output)
        if text := output.text:
            self._texts.append(text)
        tokens = output.tokens
        self.tokens += tokens
        if tokens and self.keeps_probs:
            self._scored.append(output)

    def follow(self, output: Output) -> None:
        """Takes in how far it is, which is all that a stream needs to know of what it has sent."""
        if output.is_last:
            self.finish = output.finish
        self.latest = output

    def drop_stop_word_probs(self, tokenizer: Tokenizer) -> None:
        """The tokens of a stop string are not part of the answer."""
        word = self.finish.stopping_word if self.finish else ""
        if word and self.keeps_probs:
            self._n_stop = len(tokenizer.encode(word, add_special=False, parse_special=False))


def finish_reason(choice: Choice) -> str:
    """OpenAI's name for the end of a choice."""
    return "length" if choice.finish is None or choice.finish.stop_type == "limit" else "stop"


def chat_finish_reason(choice: Choice, has_calls: bool) -> str:
    """OpenAI's name for the end of a choice."""
    reason = finish_reason(choice)
    return "tool_calls" if has_calls and reason == "stop" else reason
