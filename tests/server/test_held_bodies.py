"""The bodies of all requests together are bounded: large ones that find no room are refused, and room comes back."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rustllm.server.held_bodies import FREE_BYTES, PATIENCE_SECONDS
from tests.support.attack import error_of, metric, read_answer
from tests.support.crowd import ENDLESS, connect, head, post, request
from tests.support.router import eventually, models_directory
from tests.support.server import Server, assert_error, running

MIB = 1 << 20
FLAGS = ("-c", "1024", "-np", "2", "--context-shift", "--max-all-bodies-bytes", str(MIB))
GOOD = {"prompt": "Once upon a time", "n_predict": 2, "temperature": 0}

#: Two of them have no room together; as a field that is ignored.
LARGE = {"x": "a" * 900_000}
#: It finds room beside one of them.
SMALL = {"x": "a" * 600_000}

SAYS = f"the bodies of all requests are too large together; allowed: up to {MIB} bytes (--max-all-bodies-bytes)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    slots = str(tmp_path_factory.mktemp("slots"))
    yield from running(*FLAGS, "--metrics", "--embeddings", "--pooling", "mean", "--slot-save-path", slots)


@pytest.fixture(autouse=True)
def all_is_given_back(server: Server) -> Iterator[None]:
    yield
    wait_until_held(server, 0)
    assert server.post("/completion", {**GOOD, **LARGE}).status == 200


def wait_until_held(server: Server, n: int) -> None:
    """Waits until so many bytes count."""
    eventually(lambda: metric(server, "rustllm:held_body_bytes") == n, f"not {n} bytes are held")


@contextmanager
def sending(server: Server, path: str = "/completion") -> Iterator[socket.socket]:
    """A client of whose large body a byte is missing yet. Beside it there is no room for another one."""
    with connect(server) as client:
        data = json.dumps({**GOOD, **LARGE}).encode()
        client.sendall(head(len(data), path) + data[:-1])
        wait_until_held(server, len(data) - 1 - FREE_BYTES)
        yield client


def test_who_trickles_keeps_nobody_out(server: Server) -> None:
    with sending(server) as client:
        assert server.post("/completion", {**GOOD, **LARGE}).status == 503
        time.sleep(PATIENCE_SECONDS + 4)  # it is slow by then: it has sent 900 kB
        assert server.post("/completion", {**GOOD, **LARGE}).status == 200
        answer = read_answer(client)
        assert answer.status == 408
        assert "slower than 65536 bytes a second" in error_of(answer)[0]
        assert "(--max-all-bodies-bytes)" in error_of(answer)[0]


def test_each_endpoint_refuses_in_its_own_shape(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    paths = [path for path, methods in document["paths"].items() if "requestBody" in methods.get("post", ())]
    others = {}
    with sending(server):
        for path in paths:
            answer = server.post(path.replace("{id_slot}", "0"), LARGE, params={"action": "save"})
            if answer.status != 503:
                others[path] = answer.status
                continue
            assert error_of(answer)[0] == SAYS, path
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert ("request_id" in answer.body) == path.startswith("/v1/messages")
            assert isinstance(answer.body["error"], str) == path.startswith("/api/")
    # These refuse whatever is sent, and read none of it; the model cannot fill in the middle.
    assert others == {"/v1/audio/transcriptions": 501, "/audio/transcriptions": 501, "/infill": 501}
    assert len(paths) > 30


def test_small_requests_are_served_and_connections_stay(server: Server) -> None:
    want = server.post("/completion", GOOD).body["content"]
    client = HTTPConnection("127.0.0.1", server.port, timeout=20)

    def ask(body: dict[str, Any]) -> tuple[int, Any]:
        client.request("POST", "/completion", json.dumps(body))
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())

    with sending(server):
        assert ask(GOOD)[0] == 200
        connection = client.sock
        for _ in range(5):
            assert ask({**GOOD, **LARGE})[0] == 503
            status, body = ask({**GOOD, **SMALL})
            assert (status, body["content"]) == (200, want)
        assert client.sock is connection is not None
    client.close()


def test_a_body_that_is_refused_while_it_comes(server: Server) -> None:
    with sending(server), connect(server) as client:
        data = request({**GOOD, **LARGE})
        client.sendall(data[: FREE_BYTES + 500_000])
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        # The rest of it is no request of its own.
        client.sendall(data[FREE_BYTES + 500_000 :])
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found = b""
        while part := client.recv(4096):
            found += part
        assert found.count(b"HTTP/1.1 ") == found.count(b"HTTP/1.1 200 ") == 1


def test_what_could_never_find_room_is_too_large(server: Server) -> None:
    body = json.dumps({**GOOD, "x": "a" * MIB}).encode()
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    for content in (body, chunks):
        error = assert_error(server.post("/completion", content=content), 413)
        assert error["message"] == f"the body is too large; allowed: up to {MIB} bytes (--max-all-bodies-bytes)"
    whole = json.dumps({**GOOD, "x": ""}).encode()
    assert server.post("/completion", content=whole[:-2] + b"a" * (MIB - len(whole)) + b'"}').status == 200


@pytest.mark.parametrize("resets", [False, True])
def test_who_leaves_within_a_body_gives_back(server: Server, resets: bool) -> None:
    for _ in range(3):
        with sending(server) as client:
            if resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until_held(server, 0)


@pytest.mark.parametrize("path", ["/completion", "/v1/responses", "/v1/messages", "/api/generate"])
@pytest.mark.parametrize("streams", [False, True])
def test_a_body_is_held_until_the_answer_is_complete(server: Server, path: str, streams: bool) -> None:
    fields = {
        "/completion": {"prompt": "Once", "n_predict": -1},
        "/v1/responses": {"input": "Once", "ignore_eos": True},
        "/v1/messages": {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 100_000},
        "/api/generate": {"prompt": "Once", "options": {"num_predict": 100_000}},
    }[path]
    body = {**fields, "ignore_eos": True, "stream": streams, **LARGE}
    client = post(server, path, body)
    wait_until_held(server, len(json.dumps(body)) - FREE_BYTES)
    assert server.post("/completion", GOOD).status == 200
    assert assert_error(server.post("/completion", {**GOOD, **LARGE}), 503)["message"] == SAYS
    client.close()
    wait_until_held(server, 0)


def test_a_stream_with_a_name_holds_its_body_without_its_client(server: Server) -> None:
    headers = {"X-Conversation-Id": "large", "Content-Type": "application/json"}
    body = {"input": "Once", "ignore_eos": True, "metadata": {"a": "b" * 900_000}, "stream": True}
    with server.client.stream("POST", "/v1/responses", content=json.dumps(body), headers=headers) as answer:
        assert answer.status_code == 200
    wait_until_held(server, len(json.dumps(body)) - FREE_BYTES)
    assert server.client.delete("/v1/stream?conv_id=large").status_code == 204
    assert metric(server, "rustllm:held_body_bytes") == 0
    # One that has ended is kept without it.
    body["max_output_tokens"] = 3
    headers["X-Conversation-Id"] = "ended"
    with server.client.stream("POST", "/v1/responses", content=json.dumps(body), headers=headers) as answer:
        assert b"response.incomplete" in answer.read()
    wait_until_held(server, 0)
    assert server.client.get("/v1/stream?conv_id=ended").status_code == 200


def test_a_router_counts_as_well(tmp_path: Path) -> None:
    directory = models_directory(tmp_path, "alpha")
    large = {**GOOD, **LARGE, "model": "alpha"}
    for router in running("--models-dir", str(directory), *FLAGS):

        def is_refused(path: str = "/completion") -> bool:
            answer = router.post(path, large)  # noqa: B023
            if answer.status == 503:
                assert error_of(answer)[0] == SAYS
            return answer.status == 503

        assert not is_refused()
        with connect(router) as client:
            # Nothing of it reaches the model's process.
            client.sendall(request(large)[:-1])
            time.sleep(0.5)
            for path in ("/completion", "/v1/messages", "/api/chat", "/models/load"):
                assert is_refused(path), path
            assert router.post("/completion", {**GOOD, "model": "alpha"}).status == 200
        eventually(lambda: not is_refused(), "the body of who is gone is held")
        client = post(router, "/completion", {**large, **ENDLESS})
        assert client.getresponse().status == 200
        assert is_refused()
        client.close()
        eventually(lambda: not is_refused(), "the body of who is gone is held")
