"""What the APIs write differently outside of their routes: errors, and the header with the request's id.

A path belongs to the first dialect whose paths lead to it, and to OpenAI's otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rustllm.server.errors import ApiError


@dataclass(frozen=True)
class Dialect:
    """How one API says what has nothing to do with its answers."""

    #: The routes, with all that lies below them.
    paths: tuple[str, ...] = ()
    #: The body of an error.
    error: Callable[[ApiError], dict[str, Any]] = ApiError.body
    #: One more header for the request's id.
    id_header: str | None = None


class Dialects:
    """The dialects that a server speaks; `prefix` stands before all paths."""

    def __init__(self, dialects: Sequence[Dialect] = (), prefix: str = "") -> None:
        self._rows = [(prefix + path, dialect) for dialect in dialects for path in dialect.paths]
        self._default = Dialect()

    def of(self, path: str) -> Dialect:
        """The dialect of a path."""
        for start, dialect in self._rows:
            if path == start or path.startswith(f"{start}/"):
                return dialect
        return self._default
