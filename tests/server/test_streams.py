"""Streams that clients come back to, over real connections."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from rustllm.server.native.streams.schemas import StreamState
from tests.support.server import Server, as_messages, assert_error, running

#: Requests whose answers take a while, by route.
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": as_messages("Once upon a time"), "max_tokens": 2000, "ignore_eos": True},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 2000, "ignore_eos": True},
    "/completion": {"prompt": "Once upon a time", "n_predict": 2000, "ignore_eos": True},
    "/v1/responses": {"input": "Once upon a time", "max_output_tokens": 400},
    "/v1/messages": {"messages": as_messages("Once upon a time"), "max_tokens": 400},
    "/api/generate": {"prompt": "Once upon a time", "options": {"num_predict": 400}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2", "--context-shift")


def some(server: Server, path: str, name: str, at_least: int = 300) -> bytes:
    """The first bytes of a stream, whose connection is then closed."""
    body = {**ROUTES[path], "stream": True, "seed": 1}
    data = b""
    # A client of its own: closing the stream closes the connection.
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        client.stream("POST", path, json=body, headers={"X-Conversation-Id": name}) as response,
    ):
        assert response.status_code == 200, response.read()
        for piece in response.iter_raw():
            data += piece
            if len(data) >= at_least:
                break
    return data


def states(server: Server, *names: str) -> list[StreamState]:
    answer = server.post("/v1/streams/lookup", {"conversation_ids": list(names)})
    return TypeAdapter(list[StreamState]).validate_python(answer.body, strict=True)


def wait_until_done(server: Server, name: str) -> StreamState:
    deadline = time.monotonic() + 30
    while True:
        (state,) = states(server, name)
        if state.is_done:
            return state
        assert time.monotonic() < deadline
        time.sleep(0.02)


def n_busy(server: Server) -> int:
    return sum(slot["is_processing"] for slot in server.get("/slots").body)


@pytest.mark.parametrize("path", ROUTES)
def test_who_comes_back_gets_the_rest(server: Server, path: str) -> None:
    name = f"rest of {path}"
    first = some(server, path, name)
    rest = server.client.get("/v1/stream", params={"conv_id": name, "from": str(len(first))})
    assert rest.status_code == 200
    kind = "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"
    assert rest.headers["content-type"].startswith(kind)
    whole = server.client.get("/v1/stream", params={"conv_id": name}).content
    assert first + rest.content == whole
    (state,) = states(server, name)
    assert (state.is_done, state.total_bytes) == (True, len(whole))
    assert 0 < state.started_at <= state.completed_at <= time.time() + 1


def test_the_answer_is_that_of_a_connection_that_held(server: Server) -> None:
    path = "/v1/chat/completions"
    fields = {**ROUTES[path], "seed": 1}

    def text(events: list[dict[str, Any]]) -> str:
        choices = [choice for event in events for choice in event["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    plain = text(server.stream(path, fields))
    first = some(server, path, "held")
    rest = server.client.get("/v1/stream", params={"conv_id": "held", "from": str(len(first))}).content
    events = [line[6:] for line in (first + rest).decode().split("\n\n") if line]
    assert events.pop() == "[DONE]"
    assert text([json.loads(event) for event in events]) == plain


def test_a_stream_goes_on_without_its_client(server: Server) -> None:
    first = some(server, "/v1/chat/completions", "alone")
    state = wait_until_done(server, "alone")
    assert state.total_bytes > 2 * len(first)
    assert n_busy(server) == 0
    assert server.client.get("/v1/stream", params={"conv_id": "alone"}).content.endswith(b"data: [DONE]\n\n")


def test_a_stream_is_stopped(server: Server) -> None:
    body = {**ROUTES["/completion"], "n_predict": -1, "stream": True}
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        client.stream("POST", "/completion", json=body, headers={"x-conversation-id": "endless"}) as response,
    ):
        pieces = response.iter_raw()
        next(pieces)
        assert n_busy(server) == 1
        for _ in range(2):  # once more does no harm
            assert server.client.delete("/v1/stream", params={"conv_id": "endless"}).status_code == 204
        assert b'"stop":true' not in b"".join(pieces), "it ends, and does not say that it is complete"
    deadline = time.monotonic() + 2
    while n_busy(server):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert states(server, "endless") == []
    assert_error(server.get("/v1/stream", params={"conv_id": "endless"}), 404, "conv_id")


def test_a_name_has_one_stream(server: Server) -> None:
    some(server, "/v1/chat/completions", "same")
    some(server, "/v1/completions", "same")
    wait_until_done(server, "same")
    assert b"text_completion" in server.client.get("/v1/stream", params={"conv_id": "same"}).content


def test_streams_without_a_name_are_not_kept(server: Server) -> None:
    server.stream("/v1/completions", {"prompt": "x", "max_tokens": 2})
    answer = server.post("/v1/completions", {"prompt": "x", "max_tokens": 2}, headers={"X-Conversation-Id": "whole"})
    assert answer.status == 200
    assert states(server, "", "whole") == []


def test_what_is_refused_is_not_kept(server: Server) -> None:
    headers = {"X-Conversation-Id": "refused"}
    assert_error(server.post("/completion", {"prompt": [], "stream": True}, headers=headers), param="prompt")
    long = {"prompt": "x " * 5000, "stream": True}
    assert_error(server.post("/completion", long, headers=headers), param="prompt")
    assert states(server, "refused") == []
    bad = {"X-Conversation-Id": "x" * 300}
    answer = server.post("/completion", {"prompt": "x", "stream": True}, headers=bad)
    assert "300" not in assert_error(answer, param="X-Conversation-Id")["param"]
    assert "256" in answer.body["error"]["message"]


@pytest.mark.parametrize(
    ("query", "param", "words"),
    [
        ({}, "conv_id", ["missing"]),
        ({"conv_id": ""}, "conv_id", ["missing"]),
        ({"conv_id": "known", "from": "x"}, "from", ["'x'", "0 to"]),
        ({"conv_id": "known", "from": "-1"}, "from", ["'-1'", "0 to"]),
        ({"conv_id": "known", "from": "1.5"}, "from", ["'1.5'", "0 to"]),
        ({"conv_id": "known", "from": "9" * 30}, "from", ["999", "0 to"]),
        ({"conv_id": "known", "from": "99999999"}, "from", ["99999999", "0 to"]),
    ],
)
def test_bad_questions(server: Server, query: dict[str, str], param: str, words: list[str]) -> None:
    body = {"prompt": "x", "n_predict": 1, "stream": True}
    server.client.post("/completion", json=body, headers={"X-Conversation-Id": "known"})
    error = assert_error(server.get("/v1/stream", params=query), 400, param)
    for word in (param, *words):
        assert word in error["message"]


def test_bad_bodies_and_names(server: Server) -> None:
    answer = server.client.delete("/v1/stream")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "conv_id"
    assert server.client.delete("/v1/stream", params={"conv_id": "nobody"}).status_code == 204
    assert_error(server.get("/v1/stream", params={"conv_id": "nobody"}), 404, "conv_id")
    for bad, param in (({"conversation_ids": "a"}, "conversation_ids"), ({"conversation_ids": [5]}, None)):
        error = assert_error(server.post("/v1/streams/lookup", bad), 400, param)
        assert error["message"].startswith("conversation_ids")
    assert server.post("/v1/streams/lookup", {}).body == []


def test_a_model_whose_stream_goes_on_stays_awake() -> None:
    for one in running("-c", "512", "--context-shift", "--sleep-idle-seconds", "1"):
        body = {**ROUTES["/completion"], "n_predict": 20_000, "stream": True}
        with (
            httpx.Client(base_url=one.url, timeout=60) as client,
            client.stream("POST", "/completion", json=body, headers={"X-Conversation-Id": "long"}) as response,
        ):
            next(response.iter_raw())
        time.sleep(2.5)
        whole = one.client.get("/v1/stream", params={"conv_id": "long"}).content
        last = json.loads(whole.rpartition(b"data: ")[2])
        assert (last["stop"], last["tokens_predicted"]) == (True, 20_000)
