"""Comments in streams that have been silent for long, so that proxies on the way keep the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from starlette.types import Scope

#: A comment of server-sent events: clients skip it.
PING = b":\n\n"


def ping_interval(scope: Scope, media_type: str) -> float:
    """Seconds of `--sse-ping-interval`; below 0 there are no pings, as in what is not server-sent events."""
    if media_type != "text/event-stream":
        return -1
    return float(scope["app"].state.server.settings.sse_ping_interval)


class Pings:
    """Writes a stream's events and, once none has come for `interval` seconds, a comment.

    An event costs a look at the clock: there is one timer, which goes on from the latest event when it
    rings.
    """

    def __init__(self, write: Callable[[bytes], None], interval: float) -> None:
        self._write, self._interval = write, interval
        self._latest = monotonic()
        #: Whether what was written last is the end of an event: large ones come in pieces.
        self._is_between = True
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Pings:
        """Begins, once the answer's head has been sent."""
        if self._interval > 0:
            self._arm(self._interval)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def write(self, data: bytes) -> None:
        """Writes an event, or a piece of one."""
        self._latest = monotonic()
        self._is_between = data.endswith(b"\n\n")
        self._write(data)

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        left = self._latest + self._interval - monotonic()
        if left <= 0:
            if self._is_between:
                self.write(PING)
            left = self._interval
        self._arm(left)
