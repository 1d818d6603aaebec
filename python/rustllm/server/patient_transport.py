"""A connection whose client may finish what it is sending before it is closed.

Many clients send a whole request before they read. Who closes a connection on which bytes wait that nobody has read
has the system reset it, and with that goes the answer: the client sees a broken pipe in place of a 413.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class PatientTransport:
    """A transport whose `close` first lets the client send the rest of its message.

    `let_finish` says for how many seconds at most, 0 where there is no rest, and sees to it that what comes is read.
    It is ignored, up to `most_bytes`. All else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, let_finish: Callable[[], float], most_bytes: int) -> None:
        self._transport = transport
        self._let_finish = let_finish
        self._left = most_bytes
        self._deadline: asyncio.TimerHandle | None = None
        # What each token of a stream goes through costs no more than it would without this.
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def ignores(self, data: bytes) -> bool:
        """Whether `data`, which has come, is for nobody: it is closed but for what its client still sends."""
        if self._deadline is None:
            return False
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()
        return True

    def is_closing(self) -> bool:
        """Whether `close` was called, or the connection is lost."""
        return self._deadline is not None or self._transport.is_closing()

    def close(self) -> None:
        """Closes it: at once where the client has nothing left to send, and at a second call."""
        seconds = 0.0 if self.is_closing() else self._let_finish()
        if seconds <= 0:
            self._transport.close()
            return
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._transport.abort)
        if self._transport.can_write_eof():  # TLS cannot
            self._transport.write_eof()

    def lost(self) -> None:
        """Lets go of what it refers to, since the connection is no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._let_finish = float
