"""Below the requests: what is too large, too slow, cut off or no HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.attack import KEY, Row, Send, Target, head, idle, read_answer, resident_bytes
from tests.support.server import Answer
from tests.torture.rows.make import COMPLETION

#: `--timeout` of the attacked server, in seconds.
TIMEOUT = 3

#: `--max-body-bytes` of it.
MAX_BODY = 16 << 20

#: A trickle is refused within a second from when its time is up.
_SLOW = TIMEOUT + 1.0

_STREAM = json.dumps({"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}).encode()
_ENDLESS = head(f"Content-Length: {len(_STREAM)}") + _STREAM
_CODING = "Transfer-Encoding: chunked"
_CHUNKED = head(_CODING)
_CHUNK = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"


def _said(*parts: bytes, pause: float = 0.0) -> Send:
    return lambda target: target.say(*parts, pause=pause)


_OVERSIZED = [
    Row("oversized", "1 GiB announced", _said(head(f"Content-Length: {1 << 30}")), (413,), says="--max-body-bytes"),
    Row("oversized", "2^64 bytes announced", _said(head(f"Content-Length: {1 << 64}")), (400, 413)),
    Row("oversized", "a length of a thousand digits", _said(head("Content-Length: " + "9" * 1000)), (400, 413)),
    Row("oversized", "one byte more than allowed", _said(head(f"Content-Length: {MAX_BODY + 1}")), (413,)),
    Row("oversized", "chunks without end", _said(_CHUNKED, *[_CHUNK] * 512), (413,)),
    Row("oversized", "1 GiB in chunks", lambda target: _gibibyte(target), (413,)),
    Row("oversized", "a header of 1 MiB", _said(head("X: " + "a" * (1 << 20))), (431,)),
    Row("oversized", "10,000 headers", _said(head(*[f"X-{i}: y" for i in range(10_000)])), (431,)),
    Row("oversized", "a path of 1 MiB", _said(head(path="/" + "a" * (1 << 20))), (431,)),
    Row("oversized", "a header without end", _said(head()[:-4] + b"\r\nX: ", *[b"a" * 65536] * 16), (431,)),
    Row("oversized", "headers that trickle", _said(*[bytes([byte]) for byte in head()[:80]], pause=0.05), (408,),
        within=_SLOW),
    Row("oversized", "a body that trickles", _said(head("Content-Length: 100"), *[b" "] * 80, pause=0.05), (408,),
        within=_SLOW),
    Row("oversized", "a length that promises more", _said(head("Content-Length: 100"), b"{}"), (408,), within=_SLOW),
    Row("oversized", "a length that promises less", _said(head("Content-Length: 5"), b'{"prompt": "x"}')),
    Row("oversized", "a length and chunks", _said(head("Content-Length: 5", _CODING), b"0\r\n\r\n")),
    Row("oversized", "two lengths", _said(head("Content-Length: 5", "Content-Length: 6"), b"hello!")),
    Row("oversized", "a negative length", _said(head("Content-Length: -1"))),
    Row("oversized", "a chunk of 2^64", _said(_CHUNKED, b"FFFFFFFFFFFFFFFFFF\r\nx"), (400,)),
    Row("oversized", "a chunk of no number", _said(_CHUNKED, b"zz\r\nx")),
]  # fmt: skip


def _leaves(sent: bytes, read: int = 0, clients: int = 8, reset: bool = False) -> Send:
    """Clients who go away after so much; the answer is that of a look at the slots, which must be free soon."""

    def send(target: Target) -> Answer:
        for _ in range(clients):
            with target.connect() as client:
                client.sendall(sent)
                if read:
                    client.recv(read)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert idle(target.server, 3.0), "a slot is held for a client who is gone"
        return target.server.get("/health")

    return send


def _gibibyte(target: Target) -> Answer:
    """Sends until it is cut off. It is answered as soon as there is more than is allowed, and twice as much is read for
    nobody; there is never more in memory than the body that is allowed, in parts and as one."""
    pid = target.server.process.pid
    before = most = resident_bytes(pid)
    n_sent = 0
    with target.connect() as client:
        try:
            client.sendall(_CHUNKED)
            while n_sent < 1 << 30:
                client.sendall(_CHUNK)
                n_sent += 0x10000
                most = max(most, resident_bytes(pid))
        except OSError:
            pass  # cut off
        answer = read_answer(client)
    # The sockets' buffers hold some megabytes that the server never reads.
    assert n_sent < 4 * MAX_BODY
    assert most - before < 2 * MAX_BODY
    return answer


def _idle_connections(target: Target) -> Answer:
    clients = [target.connect() for _ in range(1000)]
    try:
        return target.server.get("/health")
    finally:
        for client in clients:
            client.close()


def _pipelined(target: Target) -> Answer:
    one = f"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {KEY}\r\n".encode()
    with target.connect() as client:
        client.sendall((one + b"\r\n") * 49 + one + b"Connection: close\r\n\r\n")
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    assert data.count(b"HTTP/1.1 200 OK") == 50
    return Answer(200, None, httpx.Headers())


def _method(name: str, path: str = COMPLETION) -> Send:
    def send(target: Target) -> Answer:
        response = target.server.client.request(name, path)
        body: Any = response.json() if response.content else None
        return Answer(response.status_code, body, response.headers)

    return send


_STAGES: dict[str, tuple[Callable[..., Send], bytes, int]] = {
    "in its headers": (_leaves, head()[:30], 0),
    "before the body": (_leaves, head(f"Content-Length: {len(_STREAM)}"), 0),
    "in the body": (_leaves, head(f"Content-Length: {len(_STREAM)}") + _STREAM[:20], 0),
    "while queued or in prefill": (_leaves, _ENDLESS, 0),
    "in the stream": (_leaves, _ENDLESS, 100),
}

#: Eight clients are let go one after the other, and a slot that was in the middle of a step is looked at again.
_LEFT = 4.0

_RACES = [
    *(Row("HTTP races", f"a client leaves {text}", make(sent, read), (200,), within=_LEFT)
      for text, (make, sent, read) in _STAGES.items()),
    Row("HTTP races", "a client resets a stream", _leaves(_ENDLESS, 100, reset=True), (200,), within=_LEFT),
    # Most of the time goes into opening and closing them, on both sides.
    Row("HTTP races", "1,000 idle connections", _idle_connections, (200,), within=3.0),
    Row("HTTP races", "50 pipelined requests", _pipelined, (200,)),
    *(Row("HTTP races", name, _method(name), (400, 401, 405))
      for name in ("HEAD", "TRACE", "PUT", "DELETE", "PATCH", "BREW")),
    Row("HTTP races", "OPTIONS", _method("OPTIONS"), (400, 405)),
    Row("HTTP races", "no HTTP", _said(b"hello\r\n\r\n")),
    Row("HTTP races", "TLS", _said(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
    Row("HTTP races", "HTTP/9", _said(b"GET / HTTP/9\r\n\r\n")),
    Row("HTTP races", "HTTP/2", _said(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    Row("HTTP races", "a websocket", lambda target: _upgraded(target), (400, 401, 404, 405)),
    Row("HTTP races", "a header line without a colon", _said(head("nonsense"))),
    Row("HTTP races", "a NUL in a header", _said(head("X: a\0b"))),
    Row("HTTP races", "a smuggled header", _said(head("X: a\nTransfer-Encoding: chunked")), (400, 408), within=_SLOW),
]  # fmt: skip


def _upgraded(target: Target) -> Answer:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
    with target.connect() as client:
        client.sendall(head(*lines, path="/v1/stream", method="GET"))
        client.settimeout(5)
        first = client.recv(65536)
    return Answer(int(first.split()[1]), None, httpx.Headers())


ROWS = [*_OVERSIZED, *_RACES]
