"""Pieces joined to what one of Ollama's lines holds: texts as they come, calls when they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rustllm.chat.syntax.events import Call, CallArguments, CallStart, Content, Reasoning
from rustllm.server.pieces import Piece


@dataclass
class Line:
    """What one line holds; `first_call` counts the calls of the lines before it."""

    text: str = ""
    thought: str = ""
    calls: list[Call] = field(default_factory=list)
    first_call: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be told."""
        return not (self.text or self.thought or self.calls)


class Joiner:
    """Joins the pieces of one answer."""

    def __init__(self) -> None:
        self._call: Call | None = None
        self._calls = 0

    def join(self, pieces: Sequence[Piece], *, ends: bool) -> Line:
        """The line of these pieces. A call is whole when something else begins, or the answer `ends`."""
        line = Line(first_call=self._calls)
        for piece in pieces:
            if isinstance(piece, Content):
                self._finish(line)
                line.text += piece.text
            elif isinstance(piece, Reasoning):
                line.thought += piece.text
            elif isinstance(piece, CallStart):
                self._finish(line)
                self._call = Call(piece.id, piece.name)
            elif isinstance(piece, CallArguments):
                assert self._call is not None, "a call starts with its name"
                self._call.arguments += piece.text
        if ends:
            self._finish(line)
        return line

    def _finish(self, line: Line) -> None:
        if self._call is not None:
            line.calls.append(self._call)
            self._calls += 1
            self._call = None
