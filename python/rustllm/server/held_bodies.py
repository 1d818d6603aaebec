"""What the bodies of all requests take together.

A body takes memory from its arrival until its request is answered: what was parsed of it waits in the queue, and may be
a part of the answer. `HeldBodies` counts for a server, a `Hold` for one request. `HoldBodies` is the middleware that
gives each request its `Hold` and lets go of it in the end; whoever keeps a part of a body asks `Hold.take` for room.
Where there is none, the body that arrives most slowly makes room, if it is slow at all: who trickles cannot keep others
out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from rustllm.limits import Limits
from rustllm.pace import MAX_SECONDS
from rustllm.server.errors import RETRY_AFTER, ApiError

#: Bytes of each body that do not count, so that small requests are served whatever large ones hold. The number of
#: connections bounds them all together.
FREE_BYTES = 256 << 10

#: A body that is not there after so many seconds, and came with fewer bytes a second, makes room for others.
PATIENCE_SECONDS = 10.0
SLOW_BYTES = 64 << 10

_KEY = "rustllm.hold"


class HeldBodies:
    """The bytes that all requests hold beyond their free ones."""

    def __init__(self, limits: Limits, pace: Callable[[], float], clock: Callable[[], float] = monotonic) -> None:
        """`pace` tells the seconds until a request ends, and with it gives room."""
        self._limits, self._pace, self._clock = limits, pace, clock
        self.n_bytes = 0
        #: When each body began to arrive that is not there yet.
        self._arriving: dict[Hold, float] = {}

    @contextmanager
    def arriving(self, hold: Hold) -> Iterator[None]:
        """A body arrives meanwhile."""
        self._arriving[hold] = self._clock()
        try:
            yield
        finally:
            del self._arriving[hold]

    def take(self, n: int, hold: Hold) -> None:
        """Counts so many bytes more of a body. Raises ApiError 503 where there is no room for them."""
        while self.n_bytes + n > self._limits["all_bodies_bytes"]:
            slowest = self._slowest(but=hold)
            if slowest is None:
                raise self._no_room()
            slowest.drop()
        self.n_bytes += n

    def _slowest(self, but: Hold) -> Hold | None:
        """The body that arrives most slowly of those that hold room and are slow."""
        now = self._clock()
        rates = {
            hold: hold.n_bytes / (now - began)
            for hold, began in self._arriving.items()
            if hold is not but and hold.counts and now - began > PATIENCE_SECONDS
        }
        found = min(rates, key=rates.__getitem__, default=None)
        return None if found is None or rates[found] >= SLOW_BYTES else found

    def give_back(self, n: int) -> None:
        """Counts so many bytes less."""
        self.n_bytes -= n

    def _no_room(self) -> ApiError:
        # Its client has done nothing wrong, and another server may have room: 503, as for connections.
        most = self._limits.allowed("all_bodies_bytes", "bytes")
        error = ApiError(503, f"the bodies of all requests are too large together; allowed: up to {most}")
        seconds = min(max(self._pace(), RETRY_AFTER), MAX_SECONDS)
        error.headers["Retry-After"] = str(math.ceil(seconds))
        return error


class Hold:
    """The body of one request, as far as it is held. It has one user at first."""

    def __init__(self, bodies: HeldBodies) -> None:
        self._bodies = bodies
        self._size = self._counted = 0
        self._n_users = 1
        self._reader: asyncio.Future[bytearray] | None = None
        #: Whether the body was too slow while others needed its room; nobody reads it any more.
        self.is_dropped = False

    @property
    def n_bytes(self) -> int:
        """What has come of the body."""
        return self._size

    @property
    def counts(self) -> bool:
        """Whether there is more of it than what is free."""
        return self._counted > 0

    @contextmanager
    def read_by(self, reader: asyncio.Future[bytearray]) -> Iterator[None]:
        """The body arrives meanwhile; `reader` is cancelled if it has to make room."""
        self._reader = reader
        try:
            with self._bodies.arriving(self):
                yield
        finally:
            self._reader = None

    def drop(self) -> None:
        """Makes room for others."""
        self.is_dropped = True
        self._clear()
        if self._reader is not None:
            self._reader.cancel()

    def take(self, n: int) -> None:
        """A part of so many bytes is to be kept. Raises ApiError 503 where there is no room for it; the rest of the
        body is to be dropped then."""
        more = max(0, self._size + n - FREE_BYTES) - self._counted
        try:
            self._bodies.take(more, self)
        except ApiError:
            # Its room is free at once. Of many that grow together, only as many are refused as must be.
            self._clear()
            raise
        self._size += n
        self._counted += more

    def share(self) -> None:
        """Someone else uses the request, and may do so for longer."""
        self._n_users += 1

    def let_go(self) -> None:
        """One user has done with the request; the last one gives back what it held."""
        self._n_users -= 1
        if self._n_users == 0:
            self._clear()

    def _clear(self) -> None:
        self._bodies.give_back(self._counted)
        self._size = self._counted = 0


class HoldBodies:
    """Gives each request its `Hold`, which ends with the answer, however that ends."""

    def __init__(self, app: ASGIApp, bodies: HeldBodies) -> None:
        self.app = app
        self.bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope[_KEY] = hold = Hold(self.bodies)
        try:
            await self.app(scope, receive, send)
        finally:
            hold.let_go()


def hold_of(scope: Scope) -> Hold | None:
    """The hold of a request; None where it has not come through the middleware."""
    hold: Hold | None = scope.get(_KEY)
    return hold
