"""How calls stand in an answer: the marker that starts them, and what is around and between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tool, Tools

#: Calls in one answer, so that every answer ends.
MAX_CALLS = 16

#: Words that start a grammar, and whether at the start of the answer only.
Marker = tuple[tuple[str, ...], bool]


@dataclass(frozen=True)
class Head:
    """The beginning of a call, up to where it is certain that it is one."""

    name: str
    #: Whether the call has no arguments at all.
    bare: bool = False


class Body(Protocol):
    """How one call is written, without what is around it."""

    def starts(self) -> tuple[str, ...]:
        """Words that all calls start with, where that tells them from other text."""

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """The grammar of a call of `tool`; with `started`, without the words of `starts`."""

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads the beginning of a call and emits it, or emits nothing."""

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads the arguments and what ends the call; false where the text breaks off."""


@dataclass(frozen=True)
class Calls:
    """section begin [call open BODY close] between [call open BODY close] … end

    `section` marks all calls together, or `call` each of them; without either, only the start of an
    answer can be a call. White space matters where the model writes, not where it is read.
    """

    body: Body
    section: str = ""
    begin: str = ""
    call: str = ""
    open: str = ""
    close: str = ""
    between: str = ""
    end: str = ""
    #: Other markers that mean the same as the first one.
    also: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        """The texts that calls may follow."""
        first = self.section or self.call
        return (first, *self.also) if first else self.also

    def triggers(self) -> list[Marker]:
        """Where a grammar starts that leaves text before calls free."""
        found: list[Marker] = [((marker,), False) for marker in self.markers]
        return found if self.section or self.call else [*found, (self.body.starts(), True)]

    def lark(self, lark: Lark, tools: Tools) -> str:
        """The grammar of calls, from their first marker on."""
        return _sequence(lark.text(self.section or self.call), self._behind(lark, tools, started=False))

    def lark_triggered(self, lark: Lark, tools: Tools) -> str:
        """The same from behind a trigger."""
        if self.section or self.call:
            return self._behind(lark, tools, started=False)
        # Behind a marker a call starts anew; behind its own first words it goes on.
        started = self._behind(lark, tools, started=True)
        return lark.one_of([started, self._behind(lark, tools, started=False)]) if self.also else started

    def _behind(self, lark: Lark, tools: Tools, *, started: bool) -> str:
        first = self._one(lark, tools, started=started)
        one = self._one(lark, tools, started=False) if started else first
        parts = [first]
        if tools.parallel and (self.section or self.call):
            other = lark.rule(_sequence(lark.text(self.between + self.call), one))
            parts.append(f"{other}{{0,{MAX_CALLS - 1}}}")
        if self.section:
            parts = [lark.text(self.begin + self.call), *parts, lark.text(self.end)]
        return _sequence(*parts)

    def _one(self, lark: Lark, tools: Tools, *, started: bool) -> str:
        bodies = [self.body.lark(lark, tool, started=started) for tool in tools.tools.values()]
        opened = lark.text("" if started else self.open)
        return lark.rule(_sequence(opened, lark.one_of(bodies), lark.text(self.close)))

    def read(self, turn: Turn) -> Steps[bool]:
        """Reads calls from behind a marker; false, and nothing read, where there is none."""
        reader = turn.reader
        lead = self.begin + self.call if self.section else ""
        if not (yield from self._read_one(turn, lead)):
            return False
        while self.section and not turn.is_broken and not (yield from reader.framing(self.end)):
            if not (yield from self._read_one(turn, self.between + self.call)):
                break
        turn.is_broken = False
        return True

    def _read_one(self, turn: Turn, lead: str) -> Steps[bool]:
        reader = turn.reader
        place = reader.attempt()
        head = None
        if (yield from reader.words(lead + self.open)):
            head = yield from self.body.head(turn)
        reader.settle(place, back=head is None)
        if head is None:
            return False
        complete = yield from self.body.rest(turn, head)
        turn.is_broken = not complete or not (yield from reader.framing(self.close))
        return True


def _sequence(*parts: str) -> str:
    return " ".join(part for part in parts if part) or '""'
