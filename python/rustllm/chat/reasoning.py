"""Thoughts in answers: how they are marked, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What becomes of thoughts: `none` leaves them in the text, `deepseek` puts them into
#: `reasoning_content`, `deepseek-legacy` does both in whole answers; `auto` is `deepseek`.
ReasoningFormat = Literal["none", "deepseek", "deepseek-legacy"]
REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")


@dataclass(frozen=True)
class Thought:
    """The texts around a thought."""

    open: str
    close: str
    #: What else must follow a thought before the answer.
    then: str = ""
    #: A text of templates that tells it, where that is not `close`.
    sign: str = ""

    def is_open_in(self, prompt: str) -> bool:
        """Whether a prompt ends inside of a thought that it has just opened."""
        return prompt.rstrip().endswith(self.open.rstrip())

    def is_closed_in(self, prompt: str) -> bool:
        """Whether a prompt ends with a thought, so that none is to come."""
        return prompt.rstrip().endswith(self.close)


#: What most models write.
THINK = Thought("<think>", "</think>")

#: Hunyuan's, which its template puts together.
HUNYUAN_THINK = Thought("<think:opensource>", "</think:opensource>", sign="</think{}>")

#: Other ways, by a text of the template that tells them.
_OTHERS = (
    HUNYUAN_THINK,
    Thought("[THINK]", "[/THINK]"),
    Thought("<seed:think>", "</seed:think>"),
    Thought("<|START_THINKING|>", "<|END_THINKING|>"),
    Thought("<|inner_prefix|>", "<|inner_suffix|>"),
)


def thought_of(source: str) -> Thought | None:
    """How a template with this source marks thoughts, if it knows any."""
    for thought in (*_OTHERS, THINK):
        if (thought.sign or thought.close) in source:
            return thought
    return None


def reasoning_format(name: str | None, default: str) -> ReasoningFormat:
    """The format that a request asks for, over the server's default."""
    chosen = default if name is None else name
    if chosen == "auto":
        return "deepseek"
    assert chosen in ("none", "deepseek", "deepseek-legacy"), chosen
    return chosen  # type: ignore[return-value]  # the assertion above says so
