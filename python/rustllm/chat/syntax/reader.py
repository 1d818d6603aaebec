"""Text that arrives in pieces, read by generators that yield where they need more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from rustllm.chat.syntax.json_scan import JsonScan

T = TypeVar("T")

#: A reading that is under way: it yields for more text and returns what it found.
Steps = Generator[None, None, T]

#: Where text goes that was read.
Emit = Callable[[str], None]

_SPACE = " \t\r\n"


class Reader:
    """The text that came and was not read yet.

    All methods that are `Steps` decide the same whatever the pieces were: where a longer text could
    change the decision they wait for it.
    """

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._ended = False
        self._attempts = 0
        #: White space in front of the last marker that `until` found, where it was not emitted.
        self.trimmed = ""

    def feed(self, piece: str) -> None:
        """Adds text at the end. What was read is forgotten, unless an attempt may come back to it."""
        if not self._attempts:
            self._text, self._at = self._text[self._at :], 0
        self._text += piece

    def end(self) -> None:
        """No more text will come."""
        self._ended = True

    @property
    def is_ended(self) -> bool:
        """Whether all text was read and no more will come."""
        return self._ended and self._at == len(self._text)

    def attempt(self) -> int:
        """A place to come back to; `settle` must follow."""
        self._attempts += 1
        return self._at

    def settle(self, place: int, *, back: bool) -> None:
        """Ends an attempt, back at its place if it failed."""
        self._attempts -= 1
        if back:
            self._at = place

    def more(self) -> Steps[bool]:
        """Waits for more text; false where none will come."""
        if self._ended:
            return False
        yield
        return True

    def take(self, word: str) -> Steps[bool]:
        """Reads `word`, or nothing."""
        return (yield from self.take_any((word,))) is not None

    def take_any(self, words: Sequence[str]) -> Steps[int | None]:
        """Reads the first of `words` that stands here and returns its index, or reads nothing."""
        first = 0
        while True:
            for index in range(first, len(words)):
                if self._text.startswith(words[index], self._at):
                    self._at += len(words[index])
                    return index
                if self._could_become(words[index]):
                    first = index
                    break
            else:
                return None
            if not (yield from self.more()):
                first += 1

    def _could_become(self, word: str) -> bool:
        n = len(self._text) - self._at
        return n < len(word) and word.startswith(self._text[self._at :])

    def space(self) -> Steps[str]:
        """Reads white space, if there is any."""
        found = ""
        while True:
            end = self._at
            while end < len(self._text) and self._text[end] in _SPACE:
                end += 1
            found += self._text[self._at : end]
            self._at = end
            if end < len(self._text) or not (yield from self.more()):
                return found

    def words(self, text: str) -> Steps[bool]:
        """Reads `text` with any white space, or none, before its words and where it has some."""
        for word in text.split():
            yield from self.space()
            if not (yield from self.take(word)):
                return False
        if text[-1:] in _SPACE and text:
            yield from self.space()
        return True

    def framing(self, text: str) -> Steps[bool]:
        """As `words`, but all or nothing; the end of the answer may cut it short."""
        place = self.attempt()
        read = yield from self.words(text)
        cut = not read and self._ended and self._is_start_of(text, place)
        self.settle(place, back=not read and not cut)
        if cut:
            self._at = len(self._text)
        return read or cut

    def _is_start_of(self, text: str, place: int) -> bool:
        rest = "".join(self._text[place:].split())
        return "".join(text.split()).startswith(rest)

    def chars(self, allowed: str, most: int) -> Steps[str]:
        """Reads up to `most` characters of `allowed`."""
        found = ""
        while len(found) < most:
            if self._at == len(self._text):
                if not (yield from self.more()):
                    break
                continue
            if self._text[self._at] not in allowed:
                break
            found += self._text[self._at]
            self._at += 1
        return found

    def peek(self) -> Steps[str]:
        """The next character, which stays; nothing at the end."""
        while self._at == len(self._text):
            if not (yield from self.more()):
                return ""
        return self._text[self._at]

    def until(self, markers: Sequence[str], emit: Emit, *, trim: bool = False) -> Steps[int | None]:
        """Emits text up to the first of `markers`, reads that and returns its index.

        At the end of the text all of it is emitted and the answer is None. With `trim`, white space
        in front of a marker is not emitted; `trimmed` has it.
        """
        while True:
            found = self._find(markers)
            if found is not None:
                at, index = found
                text = self._text[self._at : at]
                kept = text.rstrip(_SPACE) if trim else text
                self.trimmed = text[len(kept) :]
                self._emit(kept, emit)
                self._at = at + len(markers[index])
                return index
            end = len(self._text) if self._ended else self._undecided(markers)
            if trim and not self._ended:
                while end > self._at and self._text[end - 1] in _SPACE:
                    end -= 1
            self._emit(self._text[self._at : end], emit)
            self._at = end
            if not (yield from self.more()):
                if self._at < len(self._text):
                    continue
                return None

    @staticmethod
    def _emit(text: str, emit: Emit) -> None:
        if text:
            emit(text)

    def _find(self, markers: Sequence[str]) -> tuple[int, int] | None:
        """Where the first marker stands for certain, and which."""
        places = ((self._text.find(marker, self._at), index) for index, marker in enumerate(markers))
        found = min((place for place in places if place[0] >= 0), default=None)
        # A longer one that is not complete yet may begin before it, or at the same place.
        if found is not None and not self._ended and self._undecided(markers) <= found[0]:
            return None
        return found

    def _undecided(self, markers: Sequence[str]) -> int:
        """Where a marker begins that the text ends within, or the end of the text."""
        longest = max((len(marker) for marker in markers), default=1)
        for at in range(max(self._at, len(self._text) - longest + 1), len(self._text)):
            rest = self._text[at:]
            if any(len(rest) < len(marker) and marker.startswith(rest) for marker in markers):
                return at
        return len(self._text)

    def json(self, emit: Emit) -> Steps[bool]:
        """Emits one JSON value as far as it is one; false where it breaks off."""
        scan = JsonScan()
        while True:
            end = scan.push(self._text, self._at)
            self._emit(self._text[self._at : end], emit)
            self._at = end
            if scan.is_done:
                return True
            if end < len(self._text):
                return False
            if not (yield from self.more()):
                return scan.ends_here()
