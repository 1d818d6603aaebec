"""An engine whose thread ends in the middle of its work: what ran is told so, and the process ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.server import Answer, Server, assert_error


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("-c", "8192", "-np", "2", program=("-m", "tests.support.losing_server"))
    try:
        yield server.wait()
    finally:
        server.process.kill()
        server.process.wait()
        server.log.close()
        server.client.close()


def lose(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGUSR1)


def test_what_runs_is_told_and_the_process_ends(server: Server) -> None:
    body = {"prompt": "Once upon a time", "n_predict": 7000, "ignore_eos": True}
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(server.post("/completion", body)))
    with (
        httpx.Client(base_url=server.url, timeout=30) as other,
        other.stream("POST", "/completion", json={**body, "stream": True}) as stream,
    ):
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines).startswith("data: ")
        asking.start()
        while sum(slot["is_processing"] for slot in server.get("/slots").body) < 2:
            time.sleep(0.005)
        lose(server)
        last = list(lines)[-1]
    asking.join(10)
    # llama-server's event of an error.
    assert last.startswith("error: ") or '"error"' in last, last
    assert_error(answers[0], 500)
    assert server.process.wait(10) == 1
    assert "the engine has failed" in server.output()


def test_nobody_is_served_by_a_server_that_ends(server: Server) -> None:
    lose(server)
    deadline = time.monotonic() + 10
    while server.process.poll() is None:
        assert time.monotonic() < deadline, "a server without an engine lives on"
        try:
            assert server.get("/health").status in (200, 503)
            answer = server.post("/completion", {"prompt": "a", "n_predict": 1})
        except httpx.TransportError:
            continue
        if answer.status != 200:
            assert_error(answer, 503 if answer.status == 503 else 500)
    assert server.process.returncode == 1
