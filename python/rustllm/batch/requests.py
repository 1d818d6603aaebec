"""The input: one request a line, all of them checked before the first is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

#: What a batch may ask for.
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

#: Faults that one message names.
_SHOWN_FAULTS = 5

#: Characters of a value in a message.
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Request:
    """A line of the input. Its body stays in the file, which may be larger than the memory."""

    custom_id: str
    url: str
    #: What its answer is called: a hash of all that the line says, so that an answer cannot be taken for that of
    #: another request with the same custom_id.
    id: str
    #: Where the line begins, and its bytes.
    offset: int
    size: int


class Requests:
    """The requests of a file, in its order."""

    def __init__(self, path: Path, requests: list[Request]) -> None:
        self.path = path
        self._requests = requests

    @classmethod
    def read(cls, path: Path) -> Requests:
        """Checks the whole file. Raises OSError, or ValueError that names the lines at fault."""
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: it is read more than once; allowed: a file, and no pipe or directory")
        found: dict[str, Request] = {}
        lines: dict[str, int] = {}
        faults: list[str] = []
        with path.open("rb") as file:
            for number, (offset, line) in enumerate(_lines(file), 1):
                if not line.strip():
                    continue
                try:
                    request = _request(line, offset)
                    if request.custom_id in found:
                        first = lines[request.custom_id]
                        raise ValueError(f"custom_id: {_shown(request.custom_id)} is the one of line {first} already")
                except (RecursionError, ValueError) as error:
                    said = "this is nested too deeply" if isinstance(error, RecursionError) else error
                    faults.append(f"line {number}: {said}")
                    continue
                found[request.custom_id] = request
                lines[request.custom_id] = number
        if faults:
            more = len(faults) - _SHOWN_FAULTS
            shown = "; ".join(faults[:_SHOWN_FAULTS]) + (f"; and {more} lines more" if more > 0 else "")
            raise ValueError(f"{path}: {shown}")
        if not found:
            raise ValueError(f"{path}: there are no requests in it")
        return cls(path, list(found.values()))

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def body(self, request: Request) -> dict[str, Any]:
        """What a request asks. Raises ValueError where the file is no longer the one that was checked."""
        with self.path.open("rb") as file:
            file.seek(request.offset)
            line = file.read(request.size)
        try:
            asked = _object(line)
        except ValueError:
            asked = {}
        if _identity(asked) != request.id:
            raise ValueError(f"{self.path}: the line of custom_id {_shown(request.custom_id)} has changed meanwhile")
        body: dict[str, Any] = asked["body"]
        return body


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their places; a mark of the byte order is no part of the first."""
    offset = 0
    for line in file:
        mark = 3 if offset == 0 and line.startswith(b"\xef\xbb\xbf") else 0
        yield offset + mark, line[mark:]
        offset += len(line)


def _request(line: bytes, offset: int) -> Request:
    asked = _object(line)
    custom_id = asked.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise _wrong(asked, "custom_id", "a text that is not empty")
    if asked.get("method") != "POST":
        raise _wrong(asked, "method", "POST")
    if asked.get("url") not in ENDPOINTS:
        raise _wrong(asked, "url", ", ".join(ENDPOINTS))
    if not isinstance(asked.get("body"), dict):
        raise _wrong(asked, "body", "an object")
    return Request(custom_id, asked["url"], _identity(asked), offset, len(line))


def _object(line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except ValueError as error:
        raise ValueError(f"this is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise ValueError("this is no JSON object")
    return asked


def _identity(asked: dict[str, Any]) -> str:
    parts = [asked.get(name) for name in ("custom_id", "method", "url", "body")]
    return "batch_req_" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _wrong(asked: dict[str, Any], name: str, allowed: str) -> ValueError:
    if name not in asked:
        return ValueError(f"{name} is missing; allowed: {allowed}")
    return ValueError(f"{name}: {_shown(asked[name])} is not allowed; allowed: {allowed}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
