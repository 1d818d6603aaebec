"""Server-sent events, written where the engine's outputs arrive.

A service has an object that makes the bytes of events from an output (`Events`). `stream` runs the jobs
and awaits the first event, so that an error before it has its own status. From then on each event goes
from the engine's drain straight to the connection: no task is woken for a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rustllm._rustllm import Output
from rustllm.engine import GenerationError
from rustllm.server.disconnect import disconnected
from rustllm.server.errors import ApiError, dumps, from_exception
from rustllm.server.generation import Job
from rustllm.server.pings import PING, Pings, ping_interval
from rustllm.server.protocol import direct_write
from rustllm.server.state import Model

log = logging.getLogger("rustllm.server")


class Events(Protocol):
    """Makes the events of one job."""

    def take(self, output: Output) -> bytes:
        """The events of an output; empty where it has none."""

    def end(self) -> bytes:
        """The events after the last output."""


async def stream(
    request: Request,
    model: Model,
    parts: Sequence[tuple[Job, Events]],
    *,
    done: bool,
    headers: dict[str, str],
    failed: Callable[[ApiError], bytes] | None = None,
    media_type: str = "text/event-stream",
) -> Response:
    """The answer that streams the jobs, one after the other; its first event is there already.

    With `done`, the stream ends with OpenAI's `[DONE]`. `failed` writes the event of an error on the way,
    by default in OpenAI's shape. A client that leaves aborts the job, also
    before the first event.
    """
    headers = {"Cache-Control": "no-cache", "Content-Type": media_type, **headers}
    answer = EventStream(request, model, parts, done, headers, failed or _failed)
    await answer.begin()
    return answer


class EventStream(Response):
    """An answer of events. Each is written when it comes: by the server's own writer where it has
    one (`protocol.direct_write`), else by ASGI's `send`."""

    def __init__(
        self,
        request: Request,
        model: Model,
        parts: Sequence[tuple[Job, Events]],
        done: bool,
        headers: dict[str, str],
        failed: Callable[[ApiError], bytes],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._model, self._parts, self._done, self._failed = model, parts, done, failed
        # Comments are part of server-sent events alone.
        is_events = self.headers["content-type"].startswith("text/event-stream")
        self._silence = ping_interval(request.scope) if is_events else -1
        self._held: list[bytes] = []
        self._arrival = asyncio.Event()
        self._write: Callable[[bytes], None] = self._hold
        self._work = asyncio.ensure_future(self._run())
        self._gone = asyncio.ensure_future(disconnected(request))
        self._gone.add_done_callback(lambda _: self._work.cancel())

    async def begin(self) -> None:
        """Waits for the first event, or raises what came instead of it. A stream that is silent for too long
        begins with a comment, as llama-server's do; what fails later is an event."""
        self._work.add_done_callback(lambda _: self._arrival.set())
        ping = asyncio.get_running_loop().call_later(self._silence, self._hold, PING) if self._silence > 0 else None
        try:
            await self._arrival.wait()
        except asyncio.CancelledError:
            self._stop()
            raise
        finally:
            if ping is not None:
                ping.cancel()
        if self._held:
            return
        self._stop()
        if self._work.cancelled():
            raise ApiError(499, "the client closed the connection")
        self._work.result()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events as they come, at last the one that says what failed."""
        write = direct_write(scope)
        pings = Pings(write or self._hold, self._silence)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            pings.start()
            if write is None:
                self._write = pings.write
                await self._forward(send)
            else:
                # What was held and what comes is written in this order, since nothing is awaited between.
                self._flush(pings.write)
                await asyncio.wait({self._work})
            end = self._end()
        finally:
            pings.stop()
            self._stop()
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _run(self) -> None:
        for job, events in self._parts:
            take = partial(self._take, events)
            started = self._model.engine.generate(job.prompt, job.params, job.grammar, job.choices, take, job.watch)
            with started as running:
                await running.ended
            data = events.end()
            if data:
                self._write(data)

    def _take(self, events: Events, output: Output) -> None:
        data = events.take(output)
        if data:
            self._write(data)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._arrival.set()

    def _flush(self, write: Callable[[bytes], None]) -> None:
        if self._held:
            write(b"".join(self._held))
            self._held.clear()
        self._write = write

    async def _forward(self, send: Send) -> None:
        while self._held or not self._work.done():
            await self._arrival.wait()
            self._arrival.clear()
            data = b"".join(self._held)
            self._held.clear()
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    def _end(self) -> bytes:
        """The last event, once the work is over."""
        error = None if self._work.cancelled() else self._work.exception()
        if isinstance(error, Exception):
            if not isinstance(error, (ApiError, GenerationError)):
                log.error("a stream failed", exc_info=error)
            return self._failed(from_exception(error))
        return b"data: [DONE]\n\n" if self._done else b""

    def _stop(self) -> None:
        self._work.cancel()
        self._gone.cancel()


def event(value: dict[str, Any]) -> bytes:
    """An event whose data is `value` as JSON."""
    return b"data: " + dumps(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """An event that has its type as its name, too."""
    return b"event: " + str(value["type"]).encode() + b"\n" + event(value)


def _failed(error: ApiError) -> bytes:
    return event(error.body())


class TextEvents:
    """Events that differ in one text only: the rest is written once."""

    #: Where the text goes, as JSON. The first such place counts.
    _PLACE = b'"\\u0000text"'

    def __init__(self, value: dict[str, Any]) -> None:
        """`value` has the text "\\0text" where the texts will be."""
        before, _, after = event(value).partition(self._PLACE)
        self._before, self._after = before, after

    def event(self, text: str) -> bytes:
        """The event with `text`, which comes from the engine and so is Unicode."""
        return self._before + orjson.dumps(text) + self._after
