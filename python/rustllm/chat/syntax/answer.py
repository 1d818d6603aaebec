"""Whole answers: a thought, text, calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.calls import Calls, Marker
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tools


@dataclass(frozen=True)
class Start:
    """Where an answer starts, as the prompt leaves it."""

    #: Inside of a thought.
    begun: bool = False
    #: Behind a call's marker.
    opened: bool = False
    #: Leave thoughts in the text.
    raw_thoughts: bool = False


class Answer(Protocol):
    """The syntax of answers: it reads them and gives grammars for them."""

    @property
    def thought(self) -> Thought | None:
        """How thoughts are marked."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Texts that may hold special tokens and must be seen."""

    @property
    def frames_text(self) -> bool:
        """Whether plain text needs a frame as well."""

    def opens_in(self, prompt: str) -> bool:
        """Whether a prompt ends with the marker of calls."""

    def triggers(self) -> list[Marker]:
        """Where the grammar of `lark_triggered` starts."""

    def lark_calls(self, lark: Lark, tools: Tools, start: Start) -> str:
        """Calls and nothing else, behind the thought."""

    def lark_triggered(self, lark: Lark, tools: Tools) -> str:
        """Calls from behind a trigger."""

    def lark_text(self, lark: Lark, text: str, start: Start) -> str:
        """An answer that is `text`, behind the thought."""

    def read(self, turn: Turn, start: Start) -> Steps[None]:
        """Reads the whole answer."""


@dataclass(frozen=True)
class PlainAnswer:
    """A thought at the start, then text with calls."""

    calls: Calls
    thought: Thought | None = None
    #: Texts around the content that are not part of it.
    fillers: tuple[str, ...] = ()
    #: What stands instead of a call's name where text follows, if the prompt opens a call.
    to_user: str = ""

    @property
    def tokens(self) -> tuple[str, ...]:
        """All that the reading looks for."""
        c = self.calls
        texts = (*c.markers, c.begin, c.open, c.close, c.between, c.end, *body_texts(c.body))
        thought = (self.thought.open, self.thought.close) if self.thought else ()
        return tuple(text for text in (*texts, *thought) if text)

    @property
    def frames_text(self) -> bool:
        """Text stands by itself."""
        return False

    def opens_in(self, prompt: str) -> bool:
        """Whether a prompt ends with the marker of a call."""
        return bool(self.to_user) and prompt.endswith(self.calls.call)

    def triggers(self) -> list[Marker]:
        """The markers of the calls."""
        return self.calls.triggers()

    def lark_calls(self, lark: Lark, tools: Tools, start: Start) -> str:
        """The calls, without their marker if the prompt has it."""
        return self.calls.lark_triggered(lark, tools) if start.opened else self.calls.lark(lark, tools)

    def lark_triggered(self, lark: Lark, tools: Tools) -> str:
        """The calls behind their marker."""
        return self.calls.lark_triggered(lark, tools)

    def lark_text(self, lark: Lark, text: str, start: Start) -> str:
        """The text, addressed to the user if the prompt opens a call."""
        return f"{lark.text(self.to_user)} {text}" if start.opened else text

    def read(self, turn: Turn, start: Start) -> Steps[None]:
        """Reads the whole answer."""
        yield from self._read_thoughts(turn, start)
        yield from self._read_start(turn, start)
        markers = self.calls.markers if turn.tools else ()
        while True:
            found = yield from turn.reader.until((*markers, *self.fillers), turn.content, trim=True)
            if found is None:
                return
            space = turn.reader.trimmed
            if found >= len(markers):
                continue
            if (yield from self._read_call(turn)):
                yield from _skip_last_space(turn)
            else:
                turn.content(space + markers[found])

    def _read_call(self, turn: Turn) -> Steps[bool]:
        if self.to_user and (yield from turn.reader.take(self.to_user)):
            return True
        return (yield from self.calls.read(turn))

    def _read_start(self, turn: Turn, start: Start) -> Steps[None]:
        """What can be a call without a marker."""
        if start.opened:
            yield from self._read_call(turn)
        elif turn.tools and not (self.calls.section or self.calls.call):
            place = turn.reader.attempt()
            yield from turn.reader.space()
            read = yield from self.calls.read(turn)
            turn.reader.settle(place, back=not read)
            if read:
                yield from _skip_last_space(turn)

    def _read_thoughts(self, turn: Turn, start: Start) -> Steps[None]:
        if self.thought is None:
            return
        reader = turn.reader
        begun = start.begun
        while True:
            place = reader.attempt()
            space = yield from reader.space()
            opened = yield from reader.take(self.thought.open)
            reader.settle(place, back=not opened)
            if not opened and not begun:
                return
            if start.raw_thoughts:
                turn.content(space + self.thought.open if opened else "")
                if (yield from reader.until((self.thought.close,), turn.content)) is not None:
                    turn.content(self.thought.close)
            else:
                yield from reader.space()
                yield from reader.until((self.thought.close,), turn.reasoning, trim=True)
                yield from reader.space()
            begun = False


def body_texts(body: object) -> tuple[str, ...]:
    """The fixed texts of a body."""
    return tuple(value for value in vars(body).values() if isinstance(value, str))


def _skip_last_space(turn: Turn) -> Steps[None]:
    """White space behind a call is no content if nothing else follows."""
    place = turn.reader.attempt()
    yield from turn.reader.space()
    turn.reader.settle(place, back=not turn.reader.is_ended)
