"""The embedded model, broken in one place, with what the error may name."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.support.model_file import STORY, with_keys

WHOLE = STORY.read_bytes()

#: Bytes of a value by the number of its type, of those that have a fixed size.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
#: What is aligned behind the tables where the file does not say it.
_ALIGNMENT = 32


@dataclass(frozen=True)
class Section:
    """A part of a file that is read as one, and by which names an error may call it."""

    start: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Mutation:
    """A broken file, and with what the error begins that says so; without `names`, with any part's name."""

    text: str
    data: bytes
    names: frozenset[str] = frozenset()


class _Reader:
    """A place in the embedded file, which is trusted."""

    def __init__(self) -> None:
        self.at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, WHOLE, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        n = self.number("<Q")
        self.at += n
        return WHOLE[self.at - n : self.at].decode()

    def skip(self, type_: int) -> None:
        if type_ == _STRING:
            self.text()
        elif type_ == _ARRAY:
            inner, n = self.number("<I"), self.number("<Q")
            for _ in range(n):
                self.skip(inner)
        else:
            self.at += _WIDTHS[type_]


@cache
def sections() -> tuple[list[Section], list[Section]]:
    """The parts of the file in their order: its tables, the last of which is the gap before the data, and its data."""
    reader = _Reader()
    header = {"magic": 0, "version": 4, "tensor count": 8, "metadata count": 16}
    tables = [Section(start, (name,)) for name, start in header.items()]
    reader.at = 8
    n_tensors, n_keys = reader.number("<Q"), reader.number("<Q")
    for _ in range(n_keys):
        start = reader.at
        tables.append(Section(start, ("metadata key", reader.text())))
        reader.skip(reader.number("<I"))
    offsets = []
    for _ in range(n_tensors):
        start, name = reader.at, reader.text()
        n_dims = reader.number("<I")
        reader.at += 8 * n_dims + 4
        tables.append(Section(start, ("tensor name", name)))
        offsets.append((reader.number("<Q"), name))
    begin = -(-reader.at // _ALIGNMENT) * _ALIGNMENT
    names = tuple(name for _, name in offsets)
    tables.append(Section(reader.at, names))
    return tables, [Section(begin + offset, (name,)) for offset, name in sorted(offsets)]


def names_a_part(message: str, broken: Mutation) -> bool:
    """Whether an error's text, behind the file's name, begins with the name of the part that is at fault."""
    if broken.names:
        return message.startswith(tuple(broken.names))
    tables, data = sections()
    known = {name for section in (*tables, *data) for name in section.names}
    # A name whose length is broken goes on where it should end, or ends before.
    given, colon, _ = message.partition(": ")
    return bool(colon) and any(given.startswith(name) or name.startswith(given) for name in known)


def _missing(end: int) -> frozenset[str]:
    """What an error about a file that ends there may name."""
    tables, data = sections()
    if end >= tables[-1].start:
        # All tensors whose data is not there in whole.
        ends = [*(section.start for section in data[1:]), len(WHOLE)]
        return frozenset(name for section, last in zip(data, ends, strict=True) if last > end for name in section.names)
    cut = next(section for section in reversed(tables) if section.start <= end)
    # Either count may be found to be more than what is left can hold.
    counts = [name for name, at in (("tensor count", 16), ("metadata count", 24)) if end >= at]
    return frozenset([*cut.names, *counts])


def cuts() -> Iterator[Mutation]:
    """The file cut at each edge of its parts, a byte before and a byte after it."""
    tables, data = sections()
    edges = [*(section.start for section in (*tables, *data)), len(WHOLE)]
    ends = sorted({end for edge in edges for end in (edge - 1, edge, edge + 1) if 0 <= end < len(WHOLE)})
    for end in ends:
        yield Mutation(f"cut to {end} bytes", WHOLE[:end], _missing(end))


def flips(n: int) -> Iterator[Mutation]:
    """One byte of the tables changed, always the same ones."""
    tables, _ = sections()
    drawn = random.Random(1)
    for _ in range(n):
        at, value = drawn.randrange(tables[-1].start), drawn.randrange(256)
        yield Mutation(f"byte {at} is {value}", WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])


def _counted(at: int, value: int) -> bytes:
    """The file with another count in its header."""
    return WHOLE[:at] + struct.pack("<Q", value) + WHOLE[at + 8 :]


def _unsigned(key: str, value: int) -> bytes:
    """The file with another value of a 32-bit key."""
    name = key.encode()
    at = WHOLE.index(struct.pack("<Q", len(name)) + name + struct.pack("<I", 4)) + 8 + len(name) + 4
    return WHOLE[:at] + struct.pack("<I", value) + WHOLE[at + 4 :]


def _key(text: str, key: str, value: int) -> Mutation:
    return Mutation(text, _unsigned(f"llama.{key}", value), frozenset({f"llama.{key}"}))


def _class(text: str, data: bytes, *names: str) -> Mutation:
    return Mutation(text, data, frozenset(names))


CLASSES = [
    _class("empty", b"", "magic"),
    _class("one byte", b"G", "magic"),
    _class("no GGUF", b"not a model at all" * 100, "magic"),
    _class("wrong magic", b"GGML" + WHOLE[4:], "magic"),
    _class("version 1", WHOLE[:4] + struct.pack("<I", 1) + WHOLE[8:], "version"),
    _class("version 2^31", WHOLE[:4] + struct.pack("<I", 2**31) + WHOLE[8:], "version"),
    _class("2^32 tensors", _counted(8, 2**32), "tensor count"),
    _class("2^63 tensors", _counted(8, 2**63), "tensor count"),
    _class("2^32 keys", _counted(16, 2**32), "metadata count"),
    _class("2^63 keys", _counted(16, 2**63), "metadata count"),
    _class("alignment 0", with_keys({"general.alignment": 0}), "general.alignment"),
    _class("alignment 3", with_keys({"general.alignment": 3}), "general.alignment"),
    _class("a key twice", with_keys({"general.architecture": "llama"}), "general.architecture"),
    _class("an unknown architecture", WHOLE.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0nolla", 1),
           "general.architecture"),
    _key("no heads", "attention.head_count", 0),
    # They divide neither the width nor into the groups.
    _class("seven heads", _unsigned("llama.attention.head_count", 7), "llama.attention.head_count"),
    _key("more groups than heads", "attention.head_count_kv", 9),
    _key("no blocks", "block_count", 0),
    _key("2^31 blocks", "block_count", 2**31),
    _key("an embedding of 2^31", "embedding_length", 2**31),
    _class("an end token outside of the vocabulary", _unsigned("tokenizer.ggml.eos_token_id", 512),
           "tokenizer.ggml.eos_token_id"),
]  # fmt: skip
