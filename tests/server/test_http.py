"""Below the requests: headers, bodies and connections that no client of good will would send."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support.attack import read_answer
from tests.support.server import Server, running

TIMEOUT = 2
GOOD = {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "--timeout", str(TIMEOUT), "--max-body-bytes", "65536")


@pytest.fixture(autouse=True)
def still_serves(server: Server) -> Iterator[None]:
    yield
    assert server.post("/completion", GOOD).status == 200


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(client: socket.socket) -> tuple[int, Any]:
    """Status and JSON body of what comes until the server closes the connection."""
    found = read_answer(client)
    return found.status, found.body


def said(server: Server, *parts: bytes, pause: float = 0) -> tuple[int, Any]:
    """The answer to what is sent, part by part."""
    with connect(server) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # refused before the end
        status, body = answer(client)
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["code"] == status
    return status, body


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /completion HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def memory(server: Server) -> int:
    """Resident kilobytes of the server."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))


@pytest.mark.parametrize("size", [70_000, 1 << 20])
def test_large_headers(server: Server, size: int) -> None:
    assert said(server, head("X: " + "a" * size))[0] == 431


def test_a_header_without_end(server: Server) -> None:
    before = memory(server)
    status, body = said(server, head()[:-4] + b"\r\nX: ", *[b"a" * 65536] * 64)
    assert status == 431
    assert "65536" in body["error"]["message"]
    assert memory(server) - before < 20_000


def test_many_headers(server: Server) -> None:
    assert said(server, head(*[f"X-{i}: y" for i in range(10_000)]))[0] == 431


@pytest.mark.parametrize(
    "data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9\r\n\r\n"]
)
def test_what_is_no_http(server: Server, data: bytes) -> None:
    assert said(server, data)[0] == 400


def test_headers_that_trickle(server: Server) -> None:
    started = time.monotonic()
    status, body = said(server, *[bytes([byte]) for byte in head()[:40]], pause=0.1)
    assert status == 408
    assert "2 seconds" in body["error"]["message"]
    assert time.monotonic() - started < TIMEOUT + 3


def test_a_connection_that_says_nothing(server: Server) -> None:
    assert said(server)[0] == 408


def test_a_body_that_trickles(server: Server) -> None:
    started = time.monotonic()
    status, body = said(server, head("Content-Length: 100"), *[b" "] * 40, pause=0.1)
    assert status == 408
    assert "--timeout" in body["error"]["message"]
    assert time.monotonic() - started < TIMEOUT + 3


def test_a_body_that_trickles_on_behind_its_refusal(server: Server) -> None:
    started = time.monotonic()
    with connect(server) as client:
        client.sendall(head("Content-Length: 1000").replace(b"localhost", b"evil.example"))
        try:
            while time.monotonic() - started < 20:
                client.sendall(b" ")
                time.sleep(0.1)
        except OSError:
            pass  # closed
        assert answer(client)[0] == 403
    assert time.monotonic() - started < TIMEOUT + 3


def test_a_length_that_promises_more(server: Server) -> None:
    assert said(server, head("Content-Length: 100"), b"{}")[0] == 408


def test_a_length_that_promises_less(server: Server) -> None:
    # The body is cut to `{"pro`; what follows is no request.
    status, body = said(server, head("Content-Length: 5"), json.dumps(GOOD).encode())
    assert status == 400
    assert "JSON" in body["error"]["message"] or "HTTP" in body["error"]["message"]


def test_a_length_that_is_none(server: Server) -> None:
    for length in ("-1", "1e9", "99999999999999999999999"):
        assert said(server, head(f"Content-Length: {length}"))[0] in (400, 413)


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize(
    ("path", "status"), [("/completion", 413), ("/nowhere", 404), ("/health", 405), ("/v1/audio/transcriptions", 501)]
)
def test_who_sends_all_before_it_reads_is_answered(server: Server, path: str, status: int, closes: bool) -> None:
    """As `http.client` and `urllib` do: what is refused before it was all there is read to its end."""
    client = HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = b"[" + b"1," * 5_000_000 + b"1]"
    client.request("POST", path, body, {"connection": "close"} if closes else {})
    answer = client.getresponse()
    assert answer.status == status
    assert json.loads(answer.read())["error"]["code"] == status
    client.close()


def test_headers_are_sent_to_their_end(server: Server) -> None:
    with connect(server) as client:
        client.sendall(head("X: " + "a" * 5_000_000))
        assert answer(client)[0] == 431


def test_two_lengths(server: Server) -> None:
    assert said(server, head("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n")[0] == 400


def test_chunks_without_end(server: Server) -> None:
    before = memory(server)
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
    status, body = said(server, head("Transfer-Encoding: chunked"), *[chunk] * 200)
    assert status == 413
    assert "65536" in body["error"]["message"]
    assert memory(server) - before < 20_000


def test_pipelined_requests(server: Server) -> None:
    with connect(server) as client:
        one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        client.sendall((one + b"\r\n") * 49 + one + b"Connection: close\r\n\r\n")
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    assert data.count(b"HTTP/1.1 200 OK") == 50


def test_a_thousand_idle_connections(server: Server) -> None:
    clients = [connect(server) for _ in range(1000)]
    try:
        assert server.get("/health").status == 200
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("method", ["HEAD", "TRACE", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods(server: Server, method: str) -> None:
    response = server.client.request(method, "/completion")
    assert response.status_code in (400, 405)
    if response.status_code == 405:
        assert response.headers["allow"] == "POST"


def test_other_methods_are_told_all_that_there_are(server: Server) -> None:
    allowed = {"/props": "GET, POST", "/v1/stream": "DELETE, GET", "/lora-adapters": "GET, POST", "/health": "GET"}
    for path, methods in allowed.items():
        response = server.client.put(path)
        assert (response.status_code, response.headers["allow"]) == (405, methods)


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/props", "/slots"])
def test_head_is_get_without_its_body(server: Server, path: str) -> None:
    for _ in range(2):  # the connection is as good as before
        head, get = server.client.head(path), server.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert get.content


@pytest.mark.parametrize("stage", ["headers", "body", "prefill", "stream"])
def test_clients_that_leave(server: Server, stage: str) -> None:
    body = json.dumps({"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}).encode()
    sent = {
        "headers": head()[:30],
        "body": head(f"Content-Length: {len(body)}") + body[:10],
    }.get(stage, head(f"Content-Length: {len(body)}") + body)
    for _ in range(20):
        with connect(server) as client:
            client.sendall(sent)
            if stage == "stream":
                client.recv(100)
    deadline = time.monotonic() + 3
    while any(slot["is_processing"] for slot in server.get("/slots").body):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_client_that_does_not_read(server: Server) -> None:
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    # The answers of all these do not fit into the buffers between the two.
    body = json.dumps({"content": "a b " * 8000, "with_pieces": True}).encode()
    request = head(f"Content-Length: {len(body)}").replace(b"/completion", b"/tokenize") + body
    before = len(list(descriptors.iterdir()))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(10)
        client.sendall(request * 40)
        time.sleep(0.5)
        assert len(list(descriptors.iterdir())) == before + 1
        deadline = time.monotonic() + 4 * TIMEOUT
        while len(list(descriptors.iterdir())) > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_stream_that_is_not_read(server: Server) -> None:
    # Each token has some 20 kB of probabilities, so that an unbounded buffer would grow fast.
    fields = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True, "n_probs": 500}
    body = json.dumps(fields).encode()
    before = memory(server)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head(f"Content-Length: {len(body)}") + body)
        deadline = time.monotonic() + 4 * TIMEOUT
        time.sleep(0.3)
        most = memory(server)
        while any(slot["is_processing"] for slot in server.get("/slots").body):
            most = max(most, memory(server))
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert most - before < 40_000
