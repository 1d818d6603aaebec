"""One run of a model: its process from the wish that it be loaded until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import httpx

from rustllm.server.router_mode.catalog import Entry
from rustllm.server.router_mode.process import Process

#: Seconds to connect to a process that said it is ready.
_CONNECT_SECONDS = 10.0

#: A connection for each request: to make one costs little on a Unix socket, and one that was kept may lead
#: to a process that has ended since, which only shows once the request is sent.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class Run:
    """A model's process with the requests that it serves."""

    def __init__(self, entry: Entry, path: str) -> None:
        self.entry = entry
        #: Requests that wait for it or are served by it.
        self.users = 0
        #: Whether it takes a place among the models that may be loaded.
        self.placed = False
        #: Whether it is to end, and takes no further requests.
        self.retiring = False
        self.sleeping = False
        self.progress: float | None = None
        #: The model in the list of its process, once it is loaded.
        self.info: dict[str, Any] | None = None
        self.failure: str | None = None
        #: Done once it is loaded, or has ended without having been.
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.process: Process | None = None
        self._path = path
        transport = httpx.AsyncHTTPTransport(uds=path, limits=_LIMITS)
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        self.client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)

    @property
    def arguments(self) -> list[str]:
        """Of its process, for the list of models."""
        return ["rustllm-serve", "--host", self._path, *self.entry.arguments]

    async def start(self, environ: dict[str, str]) -> None:
        """Starts the process. Raises OSError."""
        self.process = await Process.start(["-m", "rustllm", "serve", *self.arguments[1:]], environ)

    async def describe(self) -> None:
        """Asks the process what it serves."""
        answer = await self.client.get("http://localhost/v1/models")
        self.info = answer.raise_for_status().json()["data"][0]

    async def end(self) -> None:
        """Ends the process: at once while the model is being loaded, else in order."""
        self.retiring = True
        if self.process is None:
            return
        if not self.started.done():
            self.process.kill()
        else:
            await self.process.stop(self.entry.stop_timeout)

    async def close(self) -> None:
        """Gives back what the run holds, once its process has ended."""
        await self.client.aclose()
        # A process that was killed leaves its socket behind.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
