"""What the text of an answer turns out to be, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Text of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text of the thought before it."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """A tool call begins; `index` counts the calls of the answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


Event = Content | Reasoning | CallStart | CallArguments


@dataclass
class Call:
    """A whole call."""

    id: str
    name: str
    arguments: str = ""


@dataclass
class Answer:
    """All events put together."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] | None = None

    def take(self, event: Event) -> None:
        """Adds an event."""
        if isinstance(event, Content):
            self.content += event.text
        elif isinstance(event, Reasoning):
            self.reasoning += event.text
        elif isinstance(event, CallStart):
            self.calls = [*(self.calls or []), Call(event.id, event.name)]
        else:
            assert self.calls is not None
            self.calls[event.index].arguments += event.text
