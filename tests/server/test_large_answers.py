"""Answers of many megabytes: what they hold up, what they take, and that all of it arrives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.attack import resident_bytes, settles
from tests.support.server import Server, as_messages, running

#: 350,000 log probabilities, which as JSON have 26 MB.
LARGE = {"n_predict": 700, "n_probs": 500, "ignore_eos": True, "temperature": 0}
CHAT = {"messages": as_messages("Hi"), "logprobs": True, "top_logprobs": 500, "max_tokens": 700, "ignore_eos": True}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/completion", {"prompt": "Once", **LARGE}),
    ("/v1/completions", {"prompt": "Once", **LARGE}),
    ("/v1/chat/completions", CHAT),
    ("/v1/responses", {"input": "Hi", **LARGE, "n_probs": None, "max_output_tokens": 700, "top_logprobs": 500,
                       "include": ["message.output_text.logprobs"]}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 700, "top_logprobs": 500, "stream": True,
                       "ignore_eos": True, "include": ["message.output_text.logprobs"]}),
    ("/api/chat", {"messages": as_messages("Hi"), "logprobs": True, "top_logprobs": 500, "stream": False,
                   "options": {"num_predict": 700, "stop": ["\0"]}, "format": {"enum": ["ab" * 400]}}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    for one in running("-c", "2048", "-np", "2"):
        one.post("/completion", {"prompt": "Once", "n_predict": 4, "n_probs": 4})
        yield one


class Watch:
    """Asks for the health all the time, and looks at the memory."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ends = threading.Event()
        self.worst = 0.0
        self.most = 0

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._ends.wait(0.01):
                started = time.monotonic()
                client.get("/health")
                self.worst = max(self.worst, time.monotonic() - started)
                self.most = max(self.most, resident_bytes(self._server.process.pid))


@pytest.mark.parametrize(("path", "body"), ASKED, ids=[f"{path} {body.get('stream')}" for path, body in ASKED])
def test_a_large_answer_holds_nobody_up(server: Server, path: str, body: dict[str, Any]) -> None:
    shares = []
    for _ in range(3):
        before = resident_bytes(server.process.pid)
        started = time.monotonic()
        with Watch(server) as watch:
            response = server.client.post(path, json=body)
            took = time.monotonic() - started
        assert response.status_code == 200, response.text[:500]
        assert len(response.content) > 8_000_000
        # The objects of all log probabilities took ten times as much as their text.
        assert watch.most - before < 40_000_000
        shares.append(watch.worst / took)
        # Written at once, it held all others for more than half of its time.
        if shares[-1] < 0.25:
            return
    pytest.fail(f"others waited for {shares} of its time")


def test_all_of_it_arrives(server: Server) -> None:
    body = {**LARGE, "n_predict": 150, "prompt": "Once upon", "n": 2}
    answers = server.post("/completion", body)
    assert answers.headers["transfer-encoding"] == "chunked"
    streamed: list[list[Any]] = [[], []]
    for event in server.stream("/completion", body):
        streamed[event["index"]] += event.get("completion_probabilities", [])
    for answer, probs in zip(answers.body, streamed, strict=True):
        assert len(probs) == 150
        assert answer["completion_probabilities"] == probs
    small = server.post("/completion", {**body, "n_predict": 2})
    assert int(small.headers["content-length"]) > 100_000


def test_a_client_that_leaves_in_the_middle_lets_it_go(server: Server) -> None:
    pid = server.process.pid
    before = resident_bytes(pid)
    body = json.dumps({"prompt": "Once", **LARGE})
    for _ in range(3):
        with httpx.stream("POST", f"{server.url}/completion", content=body, timeout=60) as response:
            next(response.iter_bytes())
    assert settles(lambda: resident_bytes(pid), before + 20_000_000) <= before + 20_000_000
    assert server.post("/completion", {"prompt": "Once", "n_predict": 2}).status == 200
