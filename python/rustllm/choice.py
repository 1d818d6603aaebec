"""One answer of a request while it grows, collected from the engine's outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from rustllm._rustllm import Finish, Output, Timings, Tokenizer, TokenProb

#: A token of a prompt, its place among all tokens, and the most probable ones there.
PromptProb = tuple[TokenProb, int, list[TokenProb]]


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

    def drop_stop_word_probs(self, tokenizer: Tokenizer) -> None:
        """The tokens of a stop string are not part of the answer."""
        word = self.finish.stopping_word if self.finish else ""
        if word and self.probs:
            n = len(tokenizer.encode(word, add_special=False, parse_special=False))
            del self.probs[max(0, len(self.probs) - n) :]


def finish_reason(choice: Choice) -> str:
    """OpenAI's name for the end of a choice."""
    return "length" if choice.finish is None or choice.finish.stop_type == "limit" else "stop"


def chat_finish_reason(choice: Choice, has_calls: bool) -> str:
    """OpenAI's name for the end of a choice."""
    reason = finish_reason(choice)
    return "tool_calls" if has_calls and reason == "stop" else reason
