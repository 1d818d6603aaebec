"""Streams that outlive their connections.

A client that names its stream in the header `X-Conversation-Id` may lose the connection and come back. The
bytes of such a stream go to a `Session`, which keeps the latest of them; every connection, the first one
too, is a `Replay` that reads there from an offset on and gets each new event as it comes. `Streams` holds
the sessions, and bounds their number, their bytes and how long one is kept that nobody reads.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import time
from typing import TYPE_CHECKING

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rustllm.server.disconnect import disconnected
from rustllm.server.errors import ApiError
from rustllm.server.held_bodies import Hold, hold_of
from rustllm.server.pings import Pings
from rustllm.server.production import Events, Production
from rustllm.server.protocol import Write, direct_write

if TYPE_CHECKING:
    from rustllm.server.generation import Job
    from rustllm.server.state import Model

#: The header in which a client names its stream.
HEADER = "X-Conversation-Id"

#: Bytes of such a name.
MAX_NAME_BYTES = 256

#: Streams that are kept.
MAX_STREAMS = 256

#: The latest bytes that are kept of one stream, as by llama-server, and of all.
MAX_BYTES = 4 << 20
MAX_TOTAL_BYTES = 64 << 20

#: Seconds that a stream is kept while nobody reads it, as by llama-server; one that is still being made
#: ends with them, so that it does not hold a slot.
KEEP_SECONDS = 300.0

#: Bytes that are sent at once to who comes back; between them the client's pace is awaited.
_PIECE = 64 << 10


class Streams:
    """The streams that clients may come back to, by name; the oldest come first."""

    def __init__(self, keep_seconds: float = KEEP_SECONDS, max_streams: int = MAX_STREAMS) -> None:
        self.keep_seconds = keep_seconds
        self._max_streams = max_streams
        self._sessions: dict[str, Session] = {}
        self._n_bytes = 0

    def open(self, name: str, headers: dict[str, str], failed: Callable[[ApiError], bytes], done: bytes) -> Session:
        """A new session. One that has the name already is stopped. Raises ApiError 400 or 429."""
        check_name(name)
        self.stop(name)
        while len(self._sessions) >= self._max_streams:
            oldest = self._oldest_ended()
            if oldest is None:
                message = f"{HEADER}: {len(self._sessions)} streams with names are running"
                raise ApiError(429, f"{message}; allowed: up to {self._max_streams}", param=HEADER)
            self.forget(oldest)
        session = self._sessions[name] = Session(self, name, headers, failed, done)
        return session

    def get(self, name: str) -> Session | None:
        """The session of this name."""
        return self._sessions.get(name)

    def find(self, names: Sequence[str]) -> list[Session]:
        """The sessions of these names, and those whose name is one of them, `::` and more. Each is there once."""
        sessions: dict[str, list[Session]] = defaultdict(list)
        for session in self._sessions.values():
            at = -1
            while (at := session.name.find("::", at + 1)) >= 0:
                sessions[session.name[:at]].append(session)
            sessions[session.name].append(session)
        found = (session for name in dict.fromkeys(names) for session in sessions.get(name, ()))
        return list(dict.fromkeys(found))

    def stop(self, name: str) -> None:
        """Ends what makes the stream of this name, and forgets it; names that are unknown are ignored."""
        session = self._sessions.get(name)
        if session is not None:
            self.forget(session)

    def forget(self, session: Session) -> None:
        """Stops a session and takes it out."""
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
            self._n_bytes -= session.n_kept
        session.stop()

    def close(self) -> None:
        """Stops all."""
        for session in list(self._sessions.values()):
            self.forget(session)

    @property
    def are_running(self) -> bool:
        """Whether any stream is still being made."""
        return any(not session.is_done for session in self._sessions.values())

    def resized(self, change: int) -> int:
        """Notes that a session keeps so many bytes more or less. Streams that have ended make room where
        there are too many; returns how many are too many still."""
        self._n_bytes += change
        while self._n_bytes > MAX_TOTAL_BYTES and (oldest := self._oldest_ended()) is not None:
            self.forget(oldest)
        return max(0, self._n_bytes - MAX_TOTAL_BYTES)

    def _oldest_ended(self) -> Session | None:
        return next((session for session in self._sessions.values() if session.is_done), None)


def check_name(name: str) -> None:
    """Refuses names that are too long or that no header should have. Raises ApiError."""
    if len(name) > MAX_NAME_BYTES or not (name.isascii() and name.isprintable()):
        message = f"{HEADER}: {name!r:.60} is no name; allowed: 1 to {MAX_NAME_BYTES} printable ASCII characters"
        raise ApiError(400, message, param=HEADER)


class Session:
    """One stream: what makes it, its latest bytes, and who waits for more."""

    def __init__(
        self, streams: Streams, name: str, headers: dict[str, str], failed: Callable[[ApiError], bytes], done: bytes
    ) -> None:
        """`headers` are those of the answer; `failed` writes the event of an error, `done` is the last event."""
        self.name, self.headers, self.failed = name, headers, failed
        #: Seconds since 1970.
        self.started_at = int(time())
        self.completed_at = 0
        #: Whether an answer has begun to send it, so that what fails becomes an event of it.
        self._has_begun = False
        #: Bytes that are no longer kept; they were the first.
        self.n_dropped = 0
        self._streams, self._done = streams, done
        self._data = bytearray()
        self._production: Production | None = None
        #: The body of its request, which is there until the stream has ended, with or without its client.
        self._hold: Hold | None = None
        self._is_stopped = False
        self._writers: list[Write] = []
        self._waiters: list[asyncio.Future[None]] = []
        #: Done once nothing more will come.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._n_readers = 0
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def n_kept(self) -> int:
        """Bytes that are kept."""
        return len(self._data)

    @property
    def n_bytes(self) -> int:
        """Bytes of the stream so far."""
        return self.n_dropped + len(self._data)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.ended.done()

    async def begin(
        self, request: Request, model: Model, parts: Sequence[tuple[Job, Events]], silence: float = -1
    ) -> None:
        """Starts the jobs and waits for the first event, or raises what came instead of it; a stream that
        is silent for `silence` seconds begins without one. A client that leaves before it finds its stream
        when it comes back."""
        self._hold = hold_of(request.scope)
        if self._hold is not None:
            self._hold.share()
        self._production = Production(model, parts, self._append)
        self._production.task.add_done_callback(self._finish)
        gone = asyncio.ensure_future(disconnected(request))
        try:
            with self.read_by():
                timeout = silence if silence > 0 else None
                await asyncio.wait({gone, self.changed()}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._streams.forget(self)
            raise
        finally:
            gone.cancel()
        if self.n_bytes or not (gone.done() or self._production.task.done()):
            self._has_begun = True
            return
        task = self._production.task
        if not task.done():
            raise ApiError(499, "the client closed the connection")
        if task.cancelled():
            raise ApiError(499, f"{HEADER}: the stream {self.name!r:.60} was stopped before it began", param=HEADER)
        task.result()

    def read(self, offset: int) -> bytes:
        """Some of what comes behind the first `offset` bytes; empty where there is no more yet. Raises ApiError."""
        if offset < self.n_dropped:
            message = f"from: {offset} is lost, since only the latest {MAX_BYTES} bytes are kept"
            raise ApiError(400, f"{message}; allowed: {self.n_dropped} to {self.n_bytes}", param="from")
        at = offset - self.n_dropped
        return bytes(self._data[at : at + _PIECE])

    @contextmanager
    def read_by(self, write: Write | None = None) -> Iterator[None]:
        """Someone reads in here; `write` gets each event as it comes."""
        self._n_readers += 1
        self._schedule_expiry()
        if write is not None:
            self._writers.append(write)
        try:
            yield
        finally:
            if write is not None:
                self._writers.remove(write)
            self._n_readers -= 1
            self._schedule_expiry()

    def changed(self) -> asyncio.Future[None]:
        """Is done once more has come, or nothing more will come."""
        if self.is_done:
            return self.ended
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def stop(self) -> None:
        """Ends what makes the stream; who reads gets to its end."""
        self._is_stopped = True
        if self._production is not None:
            self._production.task.cancel()
        self._end()

    def _append(self, data: bytes) -> None:
        # Nothing is nothing to write, either: an empty chunk would end the answer.
        if self._is_stopped or not data:
            return
        self._data += data
        n_over = max(self._streams.resized(len(data)), len(self._data) - MAX_BYTES)
        if n_over > 0:
            n_over = min(n_over, len(self._data))
            del self._data[:n_over]
            self.n_dropped += n_over
            self._streams.resized(-n_over)
        for write in self._writers:
            write(data)
        if self._waiters:
            self._wake()

    def _finish(self, task: asyncio.Task[None]) -> None:
        """The jobs are over."""
        failed = not task.cancelled() and task.exception() is not None
        if self._is_stopped or (failed and not (self.n_bytes or self._has_begun)):
            # What failed before it began is its request's answer and leaves nothing behind.
            self._streams.forget(self)
            return
        assert self._production is not None
        self._append(self._production.last(self.failed, self._done))
        self.completed_at = int(time())
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self._hold is not None:
            self._hold.let_go()
            self._hold = None
        self._schedule_expiry()
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _schedule_expiry(self) -> None:
        """The time runs from the last moment at which somebody read, or something was still to come."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self._n_readers == 0 and not self._is_stopped:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self._streams.keep_seconds, self._streams.forget, self)


class Replay(Response):
    """The answer that sends a stream from an offset on, and goes on with it until its end."""

    def __init__(self, request: Request, session: Session, offset: int = 0, silence: float = -1) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(session.headers)
        self._request, self._session, self._offset, self._silence = request, session, offset, silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what is there at the client's pace, then each event when it comes."""
        gone = asyncio.ensure_future(disconnected(self._request))
        try:
            with self._session.read_by():
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                end = await self._follow(send, direct_write(scope), gone)
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": end, "more_body": False})

    async def _follow(self, send: Send, write: Write | None, gone: asyncio.Future[None]) -> bytes:
        """Returns what is to be said at the end."""
        session, offset = self._session, self._offset
        while not gone.done():
            try:
                data = session.read(offset)
            except ApiError as lost:
                return session.failed(lost)
            if data:
                offset += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            elif session.is_done:
                break
            elif write is None:
                await asyncio.wait({gone, session.changed()}, return_when=asyncio.FIRST_COMPLETED)
            else:
                # Nothing was awaited since the stream was read to its end, so nothing is missed.
                pings = Pings(write, self._silence)
                with session.read_by(pings.write), pings:
                    await asyncio.wait({gone, session.ended}, return_when=asyncio.FIRST_COMPLETED)
                break
        return b""
