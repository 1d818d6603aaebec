"""uvicorn's HTTP protocol with bounds: on what a client may send before its request has begun, and on
how long and how much it may leave of an answer unread. And a way to write parts of an answer at once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rustllm.limits import Limits
from rustllm.server.errors import ApiError
from rustllm.server.patient_transport import PatientTransport

#: Seconds that a server which ends gives clients to finish a request that it has answered, or to close TLS.
CLOSING_SECONDS = 1.0

#: Bytes of a message that are read behind its answer, or twice as many as a body may have where that is more.
MOST_IGNORED_BYTES = 32 << 20

#: Bytes of a streamed answer that may wait, beside its largest event, for a client that reads slower than it is made.
MAX_UNREAD_BYTES = 4 << 20

#: ASGI's name for what `direct_write` finds.
EXTENSION = "rustllm.write"

Write = Callable[[bytes], None]


def direct_write(scope: Scope) -> Write | None:
    """What writes a part of a streamed answer without a task: callable from the loop's thread after the
    answer's start has been sent, and only where no middleware changes bodies. None under other servers.
    """
    extension = scope.get("extensions", {}).get(EXTENSION)
    return None if extension is None else extension["write"]


def direct_drain(scope: Scope) -> Callable[[], Awaitable[None]]:
    """What waits until the client has read most of what `direct_write` has written."""
    drain: Callable[[], Awaitable[None]] = scope["extensions"][EXTENSION]["drain"]
    return drain


class BoundedProtocol(HttpToolsProtocol):
    """Refuses endless or trickling headers, and what is no HTTP, in the one error shape."""

    limits = Limits()
    transport: PatientTransport  # type: ignore[assignment]

    _in_headers = True
    _header_bytes = 0
    #: When the message began that is arriving.
    _began = 0.0
    _ending = False
    _refusal: ApiError | None = None
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _rest: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = PatientTransport(
            transport, self._let_finish, max(MOST_IGNORED_BYTES, 2 * self.limits["body_bytes"])
        )
        self._arm()
        if len(self.connections) > self.limits["connections"]:
            most = self.limits.allowed("connections")
            self._refuse(ApiError(503, f"{len(self.connections) - 1} connections are open; allowed: up to {most}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._is_read()
        self._is_whole()
        self.transport.lost()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._ending = True
        super().shutdown()
        if self.transport.get_extra_info("sslcontext") is not None:
            self.loop.call_later(CLOSING_SECONDS, self._end_tls)

    def _end_tls(self) -> None:
        # A TLS connection is closed once its client has agreed, for which asyncio waits half a minute;
        # an idle client may never look. One that still gets an answer is asked again later.
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.loop.call_later(CLOSING_SECONDS, self._end_tls)

    def pause_writing(self) -> None:
        # An answer whose client does not read would hold its memory and its slot for ever. Watching
        # the buffer here costs a stream nothing as long as it flows.
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits["body_seconds"], self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        if self.transport.ignores(data):
            return
        if self._in_headers and not self._header_bytes:
            self._began = self.loop.time()
        # Bytes after the end of a message belong to the next one's headers, but only those of whole
        # reads are counted: a read may hold a body before them.
        begun = self._in_headers
        self._header_bytes += len(data) if begun else 0
        super().data_received(data)
        if not self._in_headers:
            self._disarm()
        elif self._header_bytes > self.limits["header_bytes"]:
            self._refuse(self._too_large())
        else:
            self._arm()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits["header_bytes"]:
            self._refusal = self._too_large()
            raise ValueError("the headers are too large")  # httptools makes it an error of the parser
        self._in_headers = False
        self._header_bytes = 0
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.scope["extensions"] = {EXTENSION: {"write": _writer(self.cycle), "drain": self.flow.drain}}

    def on_message_complete(self) -> None:
        self._is_whole()
        super().on_message_complete()
        self._in_headers = True
        self._header_bytes = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Who is answered before the whole body was there may send the rest of it, but not for ever.
        if not self._in_headers and self._rest is None and not self.transport.is_closing():
            self._rest = self.loop.call_later(self.limits[self._header_time], self.transport.close)

    def _let_finish(self) -> float:
        """Before the connection is closed: for how many seconds the client may go on with a message of which it has not
        yet sent all. One that came slowly has had its time."""
        if self._in_headers and not self._header_bytes:
            return 0.0
        self._disarm()
        self._is_whole()
        self.flow.resume_reading()
        most = CLOSING_SECONDS if self._ending else self._began + self.limits[self._header_time] - self.loop.time()
        return max(0.0, most)

    def _is_whole(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or ApiError(400, "this is not an HTTP/1.1 request"))

    @property
    def _header_time(self) -> str:
        """What bounds the time of headers: they have no longer than a body."""
        return min("header_seconds", "body_seconds", key=self.limits.__getitem__)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits[self._header_time], self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        # While an answer is being made, or kept alive after one, other limits hold.
        if self._header_bytes or self.cycle is None:
            most = self.limits.allowed(self._header_time, "seconds")
            self._refuse(ApiError(408, f"the headers did not arrive in time; allowed: {most}"))

    def _refuse(self, error: ApiError) -> None:
        if self.transport.is_closing():
            return
        answer = error.response()
        lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", bytes(answer.body)]))
        self.transport.close()

    def _too_large(self) -> ApiError:
        most = self.limits.allowed("header_bytes", "bytes")
        return ApiError(431, f"the headers are too large; allowed: up to {most}")


def _writer(cycle: RequestResponseCycle) -> Write:
    """Writes chunks of HTTP/1.1's chunked encoding, which is how uvicorn sends what has no length."""
    transport, flow = cycle.transport, cycle.flow
    # The scope has this function, and the cycle the scope: what a request was sent with would stay until the garbage
    # collector comes by, which is hundreds of requests later.
    weak = weakref.ref(cycle)
    largest = 0

    def write(data: bytes) -> None:
        nonlocal largest
        running = weak()
        if running is None or running.disconnected:
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        # A client that reads as fast as it can still needs a while for one large event.
        largest = max(largest, len(data))
        if flow.write_paused and transport.get_write_buffer_size() > MAX_UNREAD_BYTES + largest:
            transport.abort()

    return write


def bounded_protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol of a server with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
