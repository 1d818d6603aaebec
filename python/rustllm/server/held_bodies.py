"""What the bodies of all requests take together.

A body takes memory from its arrival until its request is answered: what was parsed of it waits in the queue, and may be
a part of the answer. `HeldBodies` counts for a server, a `Hold` for one request. `HoldBodies` is the middleware that
gives each request its `Hold` and lets go of it in the end; whoever keeps a part of a body asks `Hold.take` for room.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from rustllm.limits import Limits
from rustllm.pace import MAX_SECONDS
from rustllm.server.errors import RETRY_AFTER, ApiError

#: Bytes of each body that do not count, so that small requests are served whatever large ones hold. The number of
#: connections bounds them all together.
FREE_BYTES = 256 << 10

_KEY = "rustllm.hold"


class HeldBodies:
    """The bytes that all requests hold beyond their free ones."""

    def __init__(self, limits: Limits, pace: Callable[[], float]) -> None:
        """`pace` tells the seconds until a request ends, and with it gives room."""
        self._limits, self._pace = limits, pace
        self.n_bytes = 0

    def take(self, n: int) -> None:
        """Counts so many bytes more. Raises ApiError 503 where there is no room for them."""
        if self.n_bytes + n > self._limits["all_bodies_bytes"]:
            raise self._no_room()
        self.n_bytes += n

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

    def take(self, n: int) -> None:
        """A part of so many bytes is to be kept. Raises ApiError 503 where there is no room for it; the rest of the
        body is to be dropped then."""
        more = max(0, self._size + n - FREE_BYTES) - self._counted
        try:
            self._bodies.take(more)
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
