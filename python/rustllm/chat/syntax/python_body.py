"""Calls in Python's syntax, read as JSON."""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass

from rustllm.chat.syntax.calls import Head
from rustllm.chat.syntax.json_body import named
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Reader, Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.syntax.values import argument_branches, escaped
from rustllm.chat.tool import Tool

_WORD = string.ascii_letters + string.digits + "_"
_SCALAR = string.ascii_letters + string.digits + "+-._"
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_CONSTANTS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_CODES = {"x": 2, "u": 4, "U": 8}
#: Lists and dictionaries within each other.
_MAX_DEPTH = 64


@dataclass(frozen=True)
class PythonBody:
    """`f(key=value, …)`"""

    def starts(self) -> tuple[str, ...]:
        """Any name may come."""
        return ()

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """Keywords in the schema's order. Texts are in double quotes, which both languages read."""
        arguments = []
        for name in tool.properties:
            value = self._value(lark, tool, name)
            arguments.append((f"{lark.text(f'{name}=')} {value}", name in tool.required))
        return f"{lark.text(f'{tool.name}(')} {_separated(lark, arguments)} {lark.text(')')}"

    def _value(self, lark: Lark, tool: Tool, name: str) -> str:
        options = []
        for branch in argument_branches(tool, name):
            if branch.get("type") == "boolean":
                options.append('("True" | "False")')
            elif branch.get("type") == "null":
                options.append('"None"')
            else:
                schema = {**tool.definitions, **branch}
                options.append(lark.schema(schema, f"{tool.place}/properties/{name}", tool.strict))
        return lark.one_of(options)

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads the name and the bracket."""
        reader = turn.reader
        yield from reader.space()
        name = yield from named(reader, [f"{name}(" for name in turn.tools])
        if name is None:
            return None
        turn.begin_call(name[:-1])
        return Head(name[:-1])

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads the keywords."""
        reader = turn.reader
        lead = "{"
        while True:
            yield from reader.space()
            if (yield from reader.framing(")")):
                turn.arguments("{}" if lead == "{" else "}")
                return True
            place = reader.attempt()
            key = None
            if lead == "{" or (yield from reader.words(", ")):
                key = yield from self._key(reader)
            reader.settle(place, back=key is None)
            if key is None or not (yield from _value(turn, f"{lead}{json.dumps(key)}: ", 0)):
                if key is None or not turn.is_within:
                    turn.arguments("{}" if lead == "{" else "}")
                return False
            lead = ", "

    def _key(self, reader: Reader) -> Steps[str | None]:
        """A keyword, if a value follows."""
        key = yield from reader.chars(_WORD, 256)
        if not key or not (yield from reader.words("= ")):
            return None
        first = yield from reader.peek()
        return key if first and (first in "\"'[{" or first in _SCALAR) else None


def _separated(lark: Lark, arguments: list[tuple[str, bool]]) -> str:
    """Arguments in their order with commas between them, the optional ones or not."""
    # `rest` is what follows from one argument on where some stood before it, `fresh` where none did.
    rest = fresh = '""'
    for expression, required in reversed(arguments):
        more = lark.rule(f'", " {expression} {rest}')
        first = lark.rule(f"{expression} {rest}")
        rest, fresh = (more, first) if required else (lark.rule(f"{more} | {rest}"), lark.rule(f"{first} | {fresh}"))
    return fresh


def _value(turn: Turn, lead: str, depth: int) -> Steps[bool]:
    """Reads one value and emits `lead` and its JSON; a text is emitted as it comes."""
    reader = turn.reader
    # What is within another value follows something that was emitted.
    turn.is_within = depth > 0
    yield from reader.space()
    first = yield from reader.peek()
    if first in ("'", '"') and first:
        turn.is_within = True
        turn.arguments(lead)
        return (yield from _string(turn, first))
    if first in ("[", "{") and first and depth < _MAX_DEPTH:
        turn.is_within = True
        turn.arguments(lead)
        return (yield from _container(turn, first, depth + 1))
    place = reader.attempt()
    word = yield from reader.chars(_SCALAR, 400)
    value = _scalar(word)
    reader.settle(place, back=value is None)
    if value is None:
        return False
    turn.is_within = True
    turn.arguments(lead + value)
    return True


def _scalar(word: str) -> str | None:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _JSON_NUMBER.fullmatch(word):
        return word
    try:
        # Python's other spellings: 1_000, +1, .5, 007 is none.
        value = int(word, 10) if len(word) < 100 and word.strip("+-").replace("_", "").isdigit() else float(word)
    except ValueError:
        return None
    return None if value != value or value in (float("inf"), float("-inf")) else json.dumps(value)


def _container(turn: Turn, opening: str, depth: int) -> Steps[bool]:
    """A list or a dictionary, from its bracket on."""
    reader = turn.reader
    closing = {"[": "]", "{": "}"}[opening]
    yield from reader.take(opening)
    lead = opening
    while True:
        yield from reader.space()
        if (yield from reader.take(closing)):
            turn.arguments(opening + closing if lead == opening else closing)
            return True
        if lead != opening and not (yield from reader.words(", ")):
            return False
        yield from reader.space()
        if lead != opening and (yield from reader.take(closing)):
            turn.arguments(closing)
            return True
        if opening == "{":
            quote = yield from reader.peek()
            if quote not in ("'", '"') or not quote:
                return False
            turn.arguments(lead)
            if not (yield from _string(turn, quote)) or not (yield from reader.words(": ")):
                return False
            lead = ": "
        if not (yield from _value(turn, lead, depth)):
            return False
        lead = ", "


def _string(turn: Turn, quote: str) -> Steps[bool]:
    """A text, from its quotation mark on."""
    reader = turn.reader
    yield from reader.take(quote)
    turn.arguments('"')
    while True:
        found = yield from reader.until((quote, "\\"), lambda text: turn.arguments(escaped(text)))
        if found is None:
            return False
        if found == 0:
            turn.arguments('"')
            return True
        turn.arguments(escaped((yield from _escape(reader))))


def _escape(reader: Reader) -> Steps[str]:
    """The character behind a backslash; what is no escape stays as it is."""
    kind = yield from reader.peek()
    if kind in _ESCAPES:
        yield from reader.take(kind)
        return _ESCAPES[kind]
    if kind not in _CODES:
        return "\\"
    yield from reader.take(kind)
    code = yield from reader.chars(string.hexdigits, _CODES[kind])
    if len(code) == _CODES[kind] and int(code, 16) < 0x110000 and not 0xD800 <= int(code, 16) < 0xE000:
        return chr(int(code, 16))
    return f"\\{kind}{code}"
