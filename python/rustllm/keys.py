"""API keys with what each may ask for, and the file that they come from.

A line of the file is a key, as llama-server's, or a key and behind blanks what goes with it:

    sk-1f0c  name=alice requests_per_minute=60 tokens_per_minute=20000 weight=2
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: Names stand in metrics and messages.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: What a line may say, with the range of each number. A priority is a weight by another name.
_NUMBERS = {
    "requests_per_minute": (1, 1_000_000),
    "tokens_per_minute": (1, 1_000_000_000),
    "weight": (1, 1000),
    "priority": (1, 1000),
}

_ALLOWED = "KEY, then name=NAME, requests_per_minute=N, tokens_per_minute=N, weight=N (or priority=N)"


class KeyFileError(ValueError):
    """A line of a key file is wrong; the message never has the key."""


@dataclass(frozen=True)
class ApiKey:
    """A key and what goes with it."""

    key: str = field(repr=False)
    #: What it is called where it must not be shown.
    name: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    #: Its share of the slots while others want them, too.
    weight: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing beside the key and its name."""
        return self.requests_per_minute is None and self.tokens_per_minute is None and self.weight == 1


def read_keys(text: str) -> list[ApiKey]:
    """The keys of a file. Raises KeyFileError."""
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [_read_line(number, line) for number, line in lines if line and not line.startswith("#")]


def named(keys: Iterable[ApiKey]) -> tuple[ApiKey, ...]:
    """The keys, each once and with a name. Raises KeyFileError where one is there twice with different limits,
    or two have one name."""
    found: dict[str, ApiKey] = {}
    for one in keys:
        other = found.setdefault(one.key, one)
        if other != one and one.is_plain and not one.name:
            continue
        if other != one and not (other.is_plain and not other.name):
            raise KeyFileError(f"a key is there twice, as {other.name or 'unnamed'} and as {one.name or 'unnamed'}")
        found[one.key] = one
    given = [one.name for one in found.values() if one.name]
    if len(given) != len(set(given)):
        twice = next(name for name in given if given.count(name) > 1)
        raise KeyFileError(f"name: {twice!r} is there twice; names must differ")
    return tuple(_with_name(one, index, given) for index, one in enumerate(found.values(), 1))


def _with_name(one: ApiKey, index: int, taken: Sequence[str]) -> ApiKey:
    if one.name:
        return one
    name = f"key-{index}"
    while name in taken:
        name += "_"
    return ApiKey(one.key, name, one.requests_per_minute, one.tokens_per_minute, one.weight)


def _read_line(number: int, line: str) -> ApiKey:
    key, *words = line.split()
    texts: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or (name != "name" and name not in _NUMBERS):
            # A word without a name may be a part of a key.
            shown = repr(name) if equals else "a word without ="
            raise KeyFileError(f"line {number}: {shown} is not allowed; allowed: {_ALLOWED}")
        if name in texts:
            raise KeyFileError(f"line {number}: {name} is there twice")
        texts[name] = value
    if "weight" in texts and "priority" in texts:
        raise KeyFileError(f"line {number}: weight and priority are two names of one setting; give one of them")
    called = texts.pop("name") if "name" in texts else None
    if called is not None and not _NAME.fullmatch(called):
        raise KeyFileError(f"line {number}: name: {called!r:.80} is not allowed; allowed: 1 to 64 of A-Z a-z 0-9 . _ -")
    numbers = {field: _number(number, field, text) for field, text in texts.items()}
    if "priority" in numbers:
        numbers["weight"] = numbers.pop("priority")
    return ApiKey(key, called or "", **numbers)


def _number(number: int, name: str, text: str) -> int:
    low, high = _NUMBERS[name]
    if text.isascii() and text.isdecimal() and len(text) < 12 and low <= int(text) <= high:
        return int(text)
    raise KeyFileError(f"line {number}: {name}: {text!r:.40} is not allowed; allowed: {low} to {high}")
