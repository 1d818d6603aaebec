"""Server-sent events, written where the engine's outputs arrive.

A service has an object that makes the bytes of events from an output (`Events`). `stream` runs the jobs
and awaits the first event, so that an error before it has its own status. From then on each event goes
from the engine's drain straight to the connection: no task is woken for a token. A stream that its client
has named goes through `resumable.py` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rustllm.server.disconnect import disconnected
from rustllm.server.errors import ApiError, dumps
from rustllm.server.generation import Job
from rustllm.server.pings import PING, Pings, ping_interval
from rustllm.server.production import Events as Events
from rustllm.server.production import Production
from rustllm.server.protocol import direct_drain, direct_write
from rustllm.server.resumable import HEADER, Replay, Streams
from rustllm.server.state import Model
from rustllm.server.written import pieces

#: OpenAI's last event.
DONE = b"data: [DONE]\n\n"


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
    before the first event, unless it has given the stream a name to come back by.
    """
    headers = {"Cache-Control": "no-cache", "Content-Type": media_type, **headers}
    end, failed = DONE if done else b"", failed or _failed
    silence = ping_interval(request.scope, media_type)
    if name := request.headers.get(HEADER):
        streams: Streams = request.app.state.server.streams
        session = streams.open(name, headers, failed, end)
        await session.begin(request, model, parts, silence)
        return Replay(request, session, silence=silence)
    answer = EventStream(request, model, parts, end, headers, failed, silence)
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
        done: bytes,
        headers: dict[str, str],
        failed: Callable[[ApiError], bytes],
        silence: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)
        self._done, self._failed, self._silence = done, failed, silence
        self._held: list[bytes] = []
        self._arrival = asyncio.Event()
        self._production = Production(model, parts, self._hold)
        self._work = self._production.task
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
            with pings:
                if write is None:
                    self._production.write = pings.write
                    await self._forward(send)
                else:
                    # What was held and what comes is written in this order, since nothing is awaited between.
                    self._production.drain = direct_drain(scope)
                    self._flush(pings.write)
                    await asyncio.wait({self._work})
            end = self._production.last(self._failed, self._done)
        finally:
            self._stop()
        await send({"type": "http.response.body", "body": end, "more_body": False})

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._arrival.set()

    def _flush(self, write: Callable[[bytes], None]) -> None:
        if self._held:
            write(b"".join(self._held))
            self._held.clear()
        self._production.write = write

    async def _forward(self, send: Send) -> None:
        while self._held or not self._work.done():
            await self._arrival.wait()
            self._arrival.clear()
            data = b"".join(self._held)
            self._held.clear()
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

    def _stop(self) -> None:
        self._work.cancel()
        self._gone.cancel()


def event(value: dict[str, Any]) -> bytes:
    """An event whose data is `value` as JSON."""
    return b"data: " + dumps(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """An event that has its type as its name, too."""
    return b"event: " + str(value["type"]).encode() + b"\n" + event(value)


def named_pieces(value: dict[str, Any]) -> Iterator[bytes]:
    """Such an event in pieces, for one that may be large."""
    yield b"event: " + str(value["type"]).encode() + b"\ndata: "
    yield from pieces(value)
    yield b"\n\n"


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
