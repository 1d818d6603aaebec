"""A connection whose client may finish what it is sending before it is closed.

Many clients send a whole request before they read. Who closes a connection on which bytes wait that nobody has read
has the system reset it, and with that goes the answer: the client sees a broken pipe in place of a 413.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class PatientTransport:
    """A transport whose `close` first lets the client send the rest of its message, for `seconds` at most.

    `let_finish` says whether there is a rest, and sees to it that it is read and ignored. All else is the
    transport's own.
    """

    def __init__(self, transport: asyncio.Transport, let_finish: Callable[[], bool], seconds: float) -> None:
        self._transport = transport
        self._let_finish = let_finish
        self.seconds = seconds
        self._deadline: asyncio.TimerHandle | None = None
        # What each token of a stream goes through costs no more than it would without this.
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def waits(self) -> bool:
        """Whether it is closed but for what its client still sends, which is for nobody."""
        return self._deadline is not None

    def is_closing(self) -> bool:
        """Whether `close` was called, or the connection is lost."""
        return self.waits or self._transport.is_closing()

    def close(self) -> None:
        """Closes it: at once where the client has nothing left to send, and at a second call."""
        if self.is_closing() or not self._let_finish():
            self._transport.close()
            return
        self._deadline = asyncio.get_running_loop().call_later(self.seconds, self._transport.abort)
        if self._transport.can_write_eof():  # TLS cannot
            self._transport.write_eof()

    def lost(self) -> None:
        """Lets go of what it refers to, since the connection is no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._let_finish = bool
