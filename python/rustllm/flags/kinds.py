"""How the value of a flag is read: each kind turns text into a value, or says what is allowed."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from typing import Any, Protocol

TRUTHY = frozenset({"on", "enabled", "true", "1"})
FALSY = frozenset({"off", "disabled", "false", "0"})


class Kind(Protocol):
    """Reads the text of one value. `allowed` completes the sentence "allowed: ..."."""

    @property
    def allowed(self) -> str:
        """What the kind takes, for messages."""

    def read(self, text: str) -> Any:
        """The value. Raises ValueError on text that is not allowed."""


@dataclass(frozen=True)
class Integer:
    """A whole number between two bounds, both included."""

    low: int
    high: int = 2**31 - 1
    #: What -1 stands for where it is apart from the numbers from `low` on.
    minus_one: str = ""

    @property
    def allowed(self) -> str:
        apart = f"-1 ({self.minus_one}) or " if self.minus_one else ""
        return f"{apart}a whole number from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        # `int` alone would take "1_000" and other alphabets' digits, and long texts slowly.
        digits = text.strip().lstrip("+-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
            raise ValueError
        value = int(text)
        if not self.low <= value <= self.high and not (self.minus_one and value == -1):
            raise ValueError
        return value


@dataclass(frozen=True)
class Number:
    """A finite number. Ranges of sampling settings are the engine's to judge."""

    allowed: str = "a number"

    def read(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Text:
    """Any text."""

    allowed: str = "a text"

    def read(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return ", ".join(self.words)

    def read(self, text: str) -> str:
        if text not in self.words:
            raise ValueError
        return text


@dataclass(frozen=True)
class Switch:
    """On or off. On the command line the flag's name alone says which; in the environment a word."""

    allowed: str = "on, off, true, false, enabled, disabled, 1, 0"

    def read(self, text: str) -> bool:
        word = text.lower()
        if word not in TRUTHY | FALSY:
            raise ValueError
        return word in TRUTHY


@dataclass(frozen=True)
class OnOff:
    """On or off, by a word on the command line as well."""

    allowed: str = Switch.allowed

    def read(self, text: str) -> bool:
        return Switch().read(text)


@dataclass(frozen=True)
class ForEachDevice:
    """A number, or several with commas between, one for each device; the first one counts, for there is but one."""

    number: Integer

    @property
    def allowed(self) -> str:
        return self.number.allowed

    def read(self, text: str) -> int:
        first, *_ = [self.number.read(part) for part in text.split(",")]
        return first


@dataclass(frozen=True)
class Words:
    """Texts between separators; empty ones are dropped."""

    separator: str = ","

    @property
    def allowed(self) -> str:
        return f"texts separated by {self.separator!r}"

    def read(self, text: str) -> tuple[str, ...]:
        return tuple(word for part in text.split(self.separator) if (word := part.strip()))


@dataclass(frozen=True)
class AdapterFiles:
    """Files between commas, where one with a comma stands in quotes, each with a weight: 1, or `scaled`
    what follows its last colon."""

    scaled: bool

    @property
    def allowed(self) -> str:
        return "FILE:SCALE with a number, several between commas" if self.scaled else "files between commas"

    def read(self, text: str) -> tuple[tuple[str, float], ...]:
        try:
            (row,) = csv.reader([text], strict=True)
        except csv.Error:
            raise ValueError from None
        return tuple(self._one(part) for part in row or [""])

    def _one(self, text: str) -> tuple[str, float]:
        path, scale = text, 1.0
        if self.scaled:
            path, _, number = text.rpartition(":")
            scale = Number().read(number)
        if not path:
            raise ValueError
        return path, scale


@dataclass(frozen=True)
class JsonObject:
    """A JSON object."""

    allowed: str = 'a JSON object such as {"key": "value"}'

    def read(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except RecursionError:
            raise ValueError from None
        if not isinstance(value, dict):
            raise ValueError
        return value


@dataclass(frozen=True)
class Bias:
    """A token id with an addition to its logit, such as 15043+1 or 15043-inf."""

    allowed: str = "a token id, a sign and a number, such as 15043+1 or 2-inf"

    def read(self, text: str) -> tuple[int, float]:
        token, sign, amount = text.partition("+") if "+" in text else text.partition("-")
        if not sign or not (token.isascii() and token.isdecimal()) or len(token) > 10:
            raise ValueError
        value = float(amount)
        if math.isnan(value) or amount[:1] in "+-":
            raise ValueError
        return int(token), value if sign == "+" else -value
