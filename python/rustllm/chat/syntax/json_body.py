"""Calls written as JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rustllm.chat.syntax.calls import Head
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Reader, Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tool

#: Keys whose values say nothing that is not known.
_IDLE = ("type", "id", "tool_call_id", "call_id")


@dataclass(frozen=True)
class JsonBody:
    """`{"name": "f", "arguments": {…}}`, with other keys where a model has been taught them."""

    name: str = "name"
    arguments: str = "arguments"
    #: A key with a text before the name or behind the arguments: its name, a pattern of its text.
    first: tuple[str, str] | None = None
    last: tuple[str, str] | None = None

    def starts(self) -> tuple[str, ...]:
        """The name's key."""
        return ("{", f'"{self.name}"', ":")

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """The object with its keys in the order in which templates write them."""
        parts = []
        if started:
            parts = ['" "?', lark.text(f'"{tool.name}", "{self.arguments}": ')]
        elif self.first:
            key, pattern = self.first
            parts = [lark.text(f'{{"{key}": "'), f"/{pattern}/"]
            parts.append(lark.text(f'", "{self.name}": "{tool.name}", "{self.arguments}": '))
        else:
            parts = [lark.text(f'{{"{self.name}": "{tool.name}", "{self.arguments}": ')]
        parts.append(lark.schema(tool.parameters, tool.place, tool.strict))
        if self.last:
            key, pattern = self.last
            parts += [lark.text(f', "{key}": "'), f"/{pattern}/", lark.text('"')]
        return " ".join([*parts, lark.text("}")])

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads up to the arguments' bracket, with the name before them."""
        reader = turn.reader
        if not (yield from reader.words("{")) or not (yield from _skip_idle(reader, behind=True)):
            return None
        if not (yield from reader.words(f'"{self.name}" :')):
            return None
        yield from reader.space()
        name = yield from named(reader, [f'"{name}"' for name in turn.tools])
        if name is None:
            return None
        name = name[1:-1]
        yield from _skip_idle(reader, behind=False)
        yield from reader.space()
        if (yield from reader.peek()) == "}":
            turn.begin_call(name)
            return Head(name, bare=True)
        if not (yield from reader.words(f', "{self.arguments}" : ')) or (yield from reader.peek()) != "{":
            return None
        turn.begin_call(name)
        return Head(name)

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads the arguments and closes the object."""
        if head.bare:
            turn.arguments("{}")
        elif not (yield from turn.reader.json(turn.arguments)):
            return False
        yield from _skip_idle(turn.reader, behind=False)
        return (yield from turn.reader.framing("}"))


@dataclass(frozen=True)
class KeyedBody:
    """`{"f": {…}}`."""

    def starts(self) -> tuple[str, ...]:
        """A bracket tells nothing."""
        return ("{",)

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """The object with its single key."""
        opened = lark.text(f'{"" if started else "{"}"{tool.name}": ')
        return f"{opened} {lark.schema(tool.parameters, tool.place, tool.strict)} {lark.text('}')}"

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads the key."""
        reader = turn.reader
        if not (yield from reader.words("{ ")):
            return None
        name = yield from named(reader, [f'"{name}"' for name in turn.tools])
        if name is None or not (yield from reader.words(": ")) or (yield from reader.peek()) != "{":
            return None
        turn.begin_call(name[1:-1])
        return Head(name[1:-1])

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads the arguments and closes the object."""
        complete = yield from turn.reader.json(turn.arguments)
        return complete and (yield from turn.reader.framing("}"))


def named(reader: Reader, names: Sequence[str]) -> Steps[str | None]:
    """Reads one of `names`, the longest that stands here."""
    ordered = sorted(names, key=len, reverse=True)
    index = yield from reader.take_any(ordered)
    return None if index is None else ordered[index]


def _skip_idle(reader: Reader, *, behind: bool) -> Steps[bool]:
    """Skips keys that say nothing, each with a comma behind or else before it; what is not such a
    key stays."""
    while True:
        place = reader.attempt()
        read = yield from _idle(reader, behind)
        reader.settle(place, back=not read)
        if not read:
            return True


def _idle(reader: Reader, behind: bool) -> Steps[bool]:
    if not behind and not (yield from reader.words(",")):
        return False
    yield from reader.space()
    key = yield from reader.take_any([f'"{key}"' for key in _IDLE])
    if key is None or not (yield from reader.words(": ")) or (yield from reader.peek()) != '"':
        return False
    if not (yield from reader.json(lambda _: None)):
        return False
    return not behind or (yield from reader.words(","))
