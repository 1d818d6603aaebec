"""What a reading generator works with: the text, the tools, and where events go."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping

from rustllm.chat.syntax.events import CallArguments, CallStart, Content, Event, Reasoning
from rustllm.chat.syntax.reader import Reader
from rustllm.chat.tool import Tool

_ALPHABET = string.ascii_letters + string.digits


class Turn:
    """One answer while it is read."""

    def __init__(self, tools: Mapping[str, Tool], new_id: Callable[[], str]) -> None:
        self.reader = Reader()
        self.tools = tools
        self._new_id = new_id
        self._events: list[Event] = []
        self._calls = 0
        #: Whether the text of the last call broke off.
        self.is_broken = False
        #: Whether something of the value that was read last was emitted.
        self.is_within = False

    @property
    def calls(self) -> int:
        """Calls begun so far."""
        return self._calls

    def content(self, text: str) -> None:
        """Emits text of the answer."""
        last = self._events[-1] if self._events else None
        if isinstance(last, Content):
            self._events[-1] = Content(last.text + text)
        elif text:
            self._events.append(Content(text))

    def reasoning(self, text: str) -> None:
        """Emits text of a thought."""
        last = self._events[-1] if self._events else None
        if isinstance(last, Reasoning):
            self._events[-1] = Reasoning(last.text + text)
        elif text:
            self._events.append(Reasoning(text))

    def begin_call(self, name: str, call_id: str | None = None) -> None:
        """Emits the start of a call."""
        self._events.append(CallStart(self._calls, call_id or self._new_id(), name))
        self._calls += 1

    def arguments(self, text: str) -> None:
        """Emits a piece of the last call's arguments."""
        index = self._calls - 1
        last = self._events[-1] if self._events else None
        if isinstance(last, CallArguments):
            self._events[-1] = CallArguments(index, last.text + text)
        elif text:
            self._events.append(CallArguments(index, text))

    def drain(self) -> list[Event]:
        """The events since the last time."""
        events, self._events = self._events, []
        return events


def random_id(prefix: str = "call_", length: int = 24) -> str:
    """An id for a call."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))
