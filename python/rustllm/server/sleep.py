"""Unloading a model that nobody uses, and loading it again for the next request.

A sleeping server keeps the `Model` with its vocabulary and template, so that it can still tell what it
serves; the engine's thread has ended and taken weights and cache along. Questions about the server
neither wake it nor keep it awake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from rustllm._rustllm import Engine, ModelError
from rustllm.server.errors import ApiError
from rustllm.server.state import Model, ServerState

log = logging.getLogger("rustllm.server")

#: What monitors ask for.
QUIET_PATHS = frozenset(
    {"/health", "/v1/health", "/props", "/models", "/v1/models", "/metrics", "/api/tags", "/api/ps", "/api/version"}
)

#: Longest wait between two looks at the clock, in seconds.
_LOOK = 1.0


class Activity:
    """Counts the requests that are being served, and knows when the last one ended."""

    def __init__(self, app: ASGIApp, sleep: Sleep, prefix: str = "") -> None:
        self.app = app
        self.sleep = sleep
        self.quiet = frozenset(prefix + path for path in QUIET_PATHS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "GET" and scope["path"] in self.quiet):
            return await self.app(scope, receive, send)
        self.sleep.running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.sleep.running -= 1
            self.sleep.last_use = monotonic()


class Sleep:
    """When a server's model sleeps, and how it goes to sleep and wakes."""

    def __init__(self, state: ServerState, load: Callable[[], Engine]) -> None:
        self.state = state
        self.load = load
        self.running = 0
        self.last_use = monotonic()
        self._lock = asyncio.Lock()

    async def watch(self, seconds: float) -> None:
        """Puts the model to sleep whenever it was not used for so long."""
        while True:
            idle = monotonic() - self.last_use
            await asyncio.sleep(min(_LOOK, max(0.01, seconds - idle)))
            if self.state.model is None or self.state.sleeping or self.running:
                continue
            if self.state.streams.are_running:
                # Their clients are away and may come back for the answers.
                self.last_use = monotonic()
                continue
            if monotonic() - self.last_use >= seconds:
                await self._fall_asleep(self.state.model)

    async def _fall_asleep(self, model: Model) -> None:
        # From here on requests wait for the lock instead of finding an engine that ends.
        self.state.sleeping = True
        async with self._lock:
            model.engine.stop()
            await asyncio.get_running_loop().run_in_executor(None, model.native.shutdown)
            log.info("the model is unloaded until the next request")
            if self.state.link is not None:
                self.state.link.report("sleeping")

    async def wake(self) -> None:
        """Loads the model again, if it sleeps. Raises ApiError 503 where that fails; the next request tries again."""
        async with self._lock:
            if not self.state.sleeping or self.state.model is None:
                return
            before = self.state.model
            try:
                native = await asyncio.get_running_loop().run_in_executor(None, self.load)
            except (ModelError, OSError, ValueError, RuntimeError) as error:
                log.error("cannot load the model again: %s", error)
                raise ApiError(503, "the model was unloaded and cannot be loaded again") from None
            engine = self.state.watch(native)
            self.state.retire(before)
            self.state.model = before.with_engine(engine)
            self.state.sleeping = False
            log.info("the model is loaded again")
            if self.state.link is not None:
                self.state.link.report("ready")
