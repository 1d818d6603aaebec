"""Choices made of a fuzzer's bytes: numbers, items of lists and short texts, taken from the front. Bytes that have run
out read as zeros, so that any input means something, and the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Given:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self.data) - self.place

    def take(self, n: int) -> bytes:
        """The next bytes; fewer at the end."""
        taken = self.data[self.place : self.place + n]
        self.place += len(taken)
        return taken

    def number(self, below: int) -> int:
        """A number from 0 on, of as few bytes as can tell all of them apart."""
        n_bytes = (max(1, below - 1).bit_length() + 7) // 8
        return int.from_bytes(self.take(n_bytes), "little") % below

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.number(len(items))]

    def text(self, most: int) -> str:
        """A text of so many bytes at most; what is no UTF-8 becomes replacement characters."""
        return self.take(1 + self.number(most)).decode("utf-8", "replace")
