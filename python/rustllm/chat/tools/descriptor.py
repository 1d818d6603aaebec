"""A tool format: how a template is recognised, and how its models answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import Answer, PlainAnswer
from rustllm.chat.syntax.turn import random_id


@dataclass(frozen=True)
class ToolFormat:
    """One way of writing tool calls."""

    #: As llama-server reports it in `chat_format`, roughly.
    name: str
    answer: Answer
    #: All texts of one of these lists stand in the template.
    signs: tuple[tuple[str, ...], ...] = ()
    #: None of these does.
    lacks: tuple[str, ...] = ()
    #: Makes the id of a call.
    new_id: Callable[[], str] = random_id
    #: Whether the template shows the tools; otherwise the system message does.
    shows_tools: bool = True

    def recognises(self, source: str) -> bool:
        """Whether a template with this source is meant."""
        if any(text in source for text in self.lacks):
            return False
        return any(all(text in source for text in texts) for texts in self.signs)

    def with_thought(self, thought: Thought | None) -> ToolFormat:
        """The same with thoughts marked so, where it knows none."""
        if thought is None or self.answer.thought is not None or not isinstance(self.answer, PlainAnswer):
            return self
        return replace(self, answer=replace(self.answer, thought=thought))
