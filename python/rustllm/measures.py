"""How much is in a field of a request: counts that are made before a field's types are looked at.

Each takes a value and what is allowed, and may stop counting a little above that. None is a value that is of
another type, which is refused elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

#: What has brackets of its own in GBNF: texts, sets of characters, comments. One without an end goes to the grammar's,
#: so that nothing is read twice: there is no way for a part to fail behind its first character.
_LITERAL = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|\[[^\]\\]*(?:\\.[^\]\\]*)*\]?|\#[^\n]*|[()]', re.DOTALL)


def entries(value: Any, most: int) -> int | None:
    """The entries of a list or an object."""
    return len(value) if isinstance(value, (list, dict)) else None


def number(value: Any, most: int) -> int | None:
    """The number itself."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def prompts(value: Any, most: int) -> int | None:
    """Prompts of a completion: a list with a token id in it is one."""
    if not isinstance(value, list) or len(value) <= most:
        return None
    return None if any(isinstance(item, int) for item in value) else len(value)


def texts(value: Any, most: int) -> int | None:
    """Texts of an embedding request: a list that begins with a token id is one."""
    return None if isinstance(value, list) and value and isinstance(value[0], int) else entries(value, most)


def token_ids(value: Any, most: int) -> int | None:
    """Token ids, and texts among them, of a prompt; of several prompts, those of the longest."""
    if not isinstance(value, list):
        return None
    return max((len(item) for item in value if isinstance(item, list)), default=len(value))


def text_bytes(value: Any, most: int) -> int | None:
    """Bytes of a text."""
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else None


def all_text_bytes(value: Any, most: int) -> int | None:
    """Bytes of a text, or of all that are in a list."""
    if isinstance(value, list):
        return sum(text_bytes(item, most) or 0 for item in value)
    return text_bytes(value, most)


def size(value: Any, most: int) -> int:
    """Characters of all texts and names in a value, and one for each of its values. It stops counting above `most`,
    so it takes no longer for a larger value."""
    n = 0
    rest = [value]
    while rest and n <= most:
        one = rest.pop()
        n += 1
        if isinstance(one, (str, list, dict)):
            n += len(one)
        if n > most or isinstance(one, str):
            continue
        if isinstance(one, dict):
            rest += one
            rest += one.values()
        elif isinstance(one, list):
            rest += one
        elif hasattr(one, "__dict__"):
            rest += vars(one).values()
    return n


def place_of_byte(value: str, most: int) -> str:
    """The line and column of what lies behind `most` bytes."""
    return _place(value, len(value.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")))


def schema_bytes(value: Any, most: int) -> int | None:
    """Bytes of a schema, which is a value or its text."""
    return text_bytes(value, most) if isinstance(value, str) else len(orjson.dumps(value))


def schema_depth(value: Any, most: int) -> int | None:
    """Levels of objects and arrays in a schema."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return depth(value, most)


def depth(value: Any, most: int) -> int:
    """Levels of objects and arrays, counted up to one more than `most`."""
    level = [value] if isinstance(value, (dict, list)) else []
    n = 0
    while level and n <= most:
        n += 1
        level = [child for item in level for child in _children(item)]
    return n


def grammar_depth(value: Any, most: int) -> int | None:
    """Levels of brackets in a grammar."""
    if not isinstance(value, str):
        return None
    return max((level for level, _ in _brackets(value)), default=0)


def place_of_bracket(value: str, most: int) -> str:
    """The line and column of the first bracket that is nested too deep."""
    at = next(at for level, at in _brackets(value) if level > most)
    return f"{_place(value, at)}nested too deep: "


def _brackets(grammar: str) -> Iterator[tuple[int, int]]:
    """The level that each opening bracket begins, with where it is."""
    level = 0
    for found in _LITERAL.finditer(grammar):
        if found[0] == "(":
            level += 1
            yield level, found.start()
        elif found[0] == ")":
            level -= 1


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - (text.rfind(chr(10), 0, at) + 1) + 1}: "


def _children(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, (dict, list))]
