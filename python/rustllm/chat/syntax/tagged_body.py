"""Calls whose arguments stand in tags of their own, read as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rustllm.chat.syntax.calls import Head
from rustllm.chat.syntax.json_body import named
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Emit, Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.syntax.values import JSON, TEXT, Reading, escaped, lark_value, reading_of
from rustllm.chat.tool import Tool

#: Characters of an argument's name.
_MAX_KEY = 256


@dataclass(frozen=True)
class TaggedBody:
    """before NAME after [key KEY equals VALUE close]… end"""

    key: str
    equals: str
    close: str
    end: str
    before: str = ""
    after: str = ""
    #: What stands instead of `equals` before values in JSON, where that differs.
    equals_json: str = ""
    #: What may stand around texts, so that they can have anything in them.
    wrap: tuple[str, str] | None = None

    def starts(self) -> tuple[str, ...]:
        """What is before the name."""
        return (self.before,)

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """The name, then the arguments in the schema's order, the optional ones or not."""
        parts = [lark.text(("" if started else self.before) + tool.name + self.after)]
        for name in tool.properties:
            is_json = self.equals_json and reading_of(tool, name) == JSON
            equals = self.equals_json if is_json else self.equals
            value = lark_value(lark, tool, name, self.close, self.wrap)
            argument = f"{lark.text(self.key + name + equals)} {value}"
            parts.append(lark.rule(argument) + ("" if name in tool.required else "?"))
        return " ".join([*parts, lark.text(self.end)])

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads the name, and looks whether arguments or the end follow."""
        reader = turn.reader
        if not (yield from reader.words(self.before)):
            return None
        name = yield from named(reader, list(turn.tools))
        if name is None or not (yield from reader.words(self.after)):
            return None
        place = reader.attempt()
        yield from reader.space()
        follows = yield from reader.take_any((self.key.strip(), self.end.strip()))
        reader.settle(place, back=True)
        if follows is None:
            return None
        turn.begin_call(name)
        return Head(name)

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads arguments up to the end."""
        reader = turn.reader
        tool = turn.tools[head.name]
        lead = "{"
        while not (yield from reader.framing(self.end)):
            place = reader.attempt()
            argument = None
            if (yield from reader.words(self.key)):
                argument = yield from self._key(turn, tool)
            reader.settle(place, back=argument is None)
            if argument is None:
                turn.arguments("{}" if lead == "{" else "}")
                return False
            key, reading = argument
            turn.arguments(f"{lead}{json.dumps(key, ensure_ascii=False)}: ")
            lead = ", "
            if not (yield from self._value(turn, reading)):
                return False
        turn.arguments("{}" if lead == "{" else "}")
        return True

    def _key(self, turn: Turn, tool: Tool) -> Steps[tuple[str, Reading] | None]:
        """The name of an argument, and how its value is written."""
        reader = turn.reader
        ends = [text.strip() for text in (self.equals, self.equals_json) if text]
        key = ""
        while True:
            found = yield from reader.take_any(ends)
            if found is not None:
                break
            char = yield from reader.peek()
            if not char or char == "\n" or len(key) == _MAX_KEY:
                return None
            key += yield from reader.chars(char, 1)
        if (self.equals, self.equals_json)[found].endswith("\n"):
            yield from reader.take("\n")
        if self.equals_json:
            return key, JSON if found == 1 else TEXT
        return key, reading_of(tool, key)

    def _value(self, turn: Turn, reading: Reading) -> Steps[bool]:
        """Reads a value up to its end; a text is emitted as it comes."""
        pieces: list[str] = []
        if reading.kind == "text":
            turn.arguments('"')
            last_line = LastBreak(lambda text: turn.arguments(escaped(text)))
        else:
            last_line = LastBreak(pieces.append)
        wrapped = self.wrap is not None and (yield from turn.reader.take(self.wrap[0]))
        close = self.wrap[1] + self.close.strip() if self.wrap and wrapped else self.close.strip()
        found = yield from turn.reader.until((close,), last_line.push)
        last_line.end(drop=found is not None and not wrapped and self.close.startswith("\n"))
        if reading.kind != "text":
            turn.arguments(reading.to_json("".join(pieces)))
        elif found is not None:
            turn.arguments('"')
        return found is not None


class LastBreak:
    """Passes text on, but for a line break at its end until it is known what follows."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._held = ""

    def push(self, text: str) -> None:
        """Takes a piece."""
        text = self._held + text
        self._held = "\n" if text.endswith("\n") else ""
        if text := text.removesuffix("\n"):
            self._emit(text)

    def end(self, *, drop: bool) -> None:
        """The text is complete; a last line break is dropped or not."""
        if self._held and not drop:
            self._emit(self._held)
