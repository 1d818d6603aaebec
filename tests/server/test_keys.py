"""API keys against a live server: who gets in, how much, in which turn, and that no key is told to anybody."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.server import Answer, Server, as_messages, assert_error, running

BODY = {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0}
KEYS = """# name and limits
key-of-alice name=alice
key-of-bob name=bob requests_per_minute=20
key-of-carol name=carol tokens_per_minute=1200
key-of-dave name=dave weight=3
"""


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEYS)
    flags = ("--api-key-file", str(file), "--api-key", "plain-key", "--metrics", "--max-queue", "6", "-v")
    yield from running("-c", "2048", "-np", "2", "--embeddings", "--pooling", "mean", *flags)


def metric(server: Server, name: str, **labels: str) -> float:
    text = server.client.get("/metrics", headers=bearer("plain-key")).text
    wanted = f"rustllm:{name}{{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    return float(next(line for line in text.splitlines() if line.startswith(wanted)).split()[-1])


def test_what_needs_a_key(server: Server) -> None:
    for path in ("/metrics", "/slots", "/props", "/lora-adapters", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 401, path
        assert server.client.get(path, headers=bearer("plain-key")).status_code == 200, path
    for path in ("/health", "/v1/health", "/v1/models", "/models"):
        assert server.client.get(path).status_code == 200, path
    for path in ("/completion", "/slots/0?action=erase", "/v1/models"):
        assert server.post(path, BODY).status in (401, 405)


WRONG = {
    "none": {},
    "empty": {"authorization": "Bearer"},
    "a part": bearer("key-of-alic"),
    "more": bearer("key-of-alicee"),
    "upper case": bearer("KEY-OF-ALICE"),
    "the name": bearer("alice"),
    "the whole line": bearer("key-of-alice name=alice"),
    "basic": {"authorization": "Basic key-of-alice"},
    "no scheme": {"authorization": "key-of-alice"},
    "bytes": {"authorization": b"Bearer \xff\xfe"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
def test_wrong_keys(server: Server, headers: Any) -> None:
    assert_error(server.post("/completion", BODY, headers=headers), 401)
    assert_error(server.post("/completion?api_key=key-of-alice&key=key-of-alice", BODY, headers=headers), 401)


def test_two_credentials_are_none(server: Server) -> None:
    for name, scheme in (("authorization", "Bearer "), ("x-api-key", "")):
        pair = [(name, f"{scheme}key-of-alice"), (name, f"{scheme}wrong")]
        for headers in (pair, pair[::-1], [pair[0], pair[0]]):
            assert server.client.post("/completion", json=BODY, headers=headers).status_code == 401


def test_another_scheme_leaves_the_other_header(server: Server) -> None:
    # As where a proxy has a password of its own.
    both = {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": "key-of-alice"}
    assert server.client.post("/completion", json=BODY, headers=both).status_code == 200
    assert server.client.post("/completion", json=BODY, headers={**both, "x-api-key": "wrong"}).status_code == 401


@pytest.mark.parametrize(
    "headers", [bearer("key-of-alice"), {"authorization": "bearer  key-of-alice"}, {"x-api-key": "key-of-alice"}]
)
def test_right_keys(server: Server, headers: dict[str, str]) -> None:
    answer = server.post("/completion", BODY, headers=headers)
    assert answer.status == 200
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)


def rates(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}


def test_requests_per_minute(server: Server) -> None:
    for left in range(19, -1, -1):
        answer = server.post("/tokenize", {"content": "x"}, headers=bearer("key-of-bob"))
        assert answer.status == 200
        assert rates(answer)["x-ratelimit-limit-requests"] == "20"
        assert rates(answer)["x-ratelimit-remaining-requests"] == str(left)
    refused = server.post("/completion", BODY, headers=bearer("key-of-bob"))
    error = assert_error(refused, 429)
    assert error["type"] == "rate_limit_error"
    assert "key bob" in error["message"]
    assert "allowed: 20 (requests_per_minute in --api-key-file)" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    # Reading costs nothing, and others are none the worse.
    assert server.get("/slots", headers=bearer("key-of-bob")).status == 200
    assert server.post("/completion", BODY, headers=bearer("key-of-alice")).status == 200
    # What it was told is true.
    time.sleep(int(refused.headers["retry-after"]))
    assert server.post("/completion", BODY, headers=bearer("key-of-bob")).status == 200
    assert metric(server, "key_refused_total", key="bob", limit="requests") == 1


def test_tokens_per_minute(server: Server) -> None:
    key = bearer("key-of-carol")
    first = server.post("/completion", {**BODY, "n_predict": 400, "ignore_eos": True}, headers=key)
    assert first.status == 200
    n_prompt = first.body["tokens_evaluated"]
    assert int(rates(first)["x-ratelimit-remaining-tokens"]) in range(1200 - n_prompt - 400, 1200 - n_prompt)
    # A stream, and one that names no limit, count alike.
    body = {"messages": as_messages("Hi"), "stream": True, "max_tokens": 600, "ignore_eos": True}
    with server.client.stream("POST", "/v1/chat/completions", json=body, headers=key) as response:
        assert response.status_code == 200
        assert "x-ratelimit-limit-tokens" in response.headers
        response.read()
    openai_client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="key-of-carol", max_retries=0)
    anthropic_client = anthropic.Anthropic(base_url=server.url, api_key="key-of-carol", max_retries=0)
    deadline = time.monotonic() + 20
    refused = None
    while refused is None:
        assert time.monotonic() < deadline
        try:
            openai_client.completions.create(model="x", prompt="Once", max_tokens=200)
        except openai.RateLimitError as error:
            refused = error
    assert "tokens_per_minute in --api-key-file" in str(refused)
    wait = int(refused.response.headers["retry-after"])
    assert wait >= 1
    with pytest.raises(anthropic.RateLimitError):
        anthropic_client.messages.create(model="x", max_tokens=4, messages=[{"role": "user", "content": "Hi"}])
    answer = server.post("/v1/embeddings", {"input": "a text"}, headers=key)
    assert answer.status == 429
    # Counting tokens generates none.
    assert server.post("/tokenize", {"content": "x"}, headers=key).status == 200
    time.sleep(wait)
    openai_client.completions.create(model="x", prompt="Once", max_tokens=1)
    assert metric(server, "key_generated_tokens_total", key="carol") >= 1000


def test_a_key_s_flood_does_not_starve_another(server: Server) -> None:
    """Alice has twenty clients that ask again and again, dave one; each of his gets its answer in a few turns."""
    stop = threading.Event()
    statuses: list[int] = []

    def flood() -> None:
        body = {**BODY, "n_predict": 300, "ignore_eos": True, "prompt": "The dog"}
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/completion", json=body, headers=bearer("key-of-alice"))
                statuses.append(answer.status_code)
                if answer.status_code == 429:
                    assert int(answer.headers["retry-after"]) >= 1
                    stop.wait(0.05)

    started = time.monotonic()
    long = {**BODY, "n_predict": 300, "ignore_eos": True}
    assert server.post("/completion", long, headers=bearer("plain-key")).status == 200
    alone = time.monotonic() - started
    threads = [threading.Thread(target=flood) for _ in range(20)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        assert metric(server, "key_waiting", key="alice") >= 3
        waits = []
        for _ in range(5):
            started = time.monotonic()
            answer = server.post("/completion", BODY, headers=bearer("key-of-dave"))
            waits.append(time.monotonic() - started)
            assert answer.status == 200, answer.body
        assert server.post("/v1/embeddings", {"input": "a"}, headers=bearer("key-of-dave")).status == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # With both slots taken by long answers, a turn is at most what is left of the three that are before it.
    assert max(waits) < 10 * max(alone, 0.2), (waits, alone)
    assert set(statuses) == {200, 429}
    assert metric(server, "key_refused_total", key="alice", limit="queue") > 0
    assert metric(server, "key_refused_total", key="dave", limit="queue") == 0
    assert metric(server, "key_waiting", key="alice") == metric(server, "key_running", key="alice") == 0


def test_a_client_that_leaves_the_queue_is_forgotten(server: Server) -> None:
    long = {**BODY, "n_predict": 1500, "ignore_eos": True}
    threads = [threading.Thread(target=_leave_early, args=(server, long)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 20
    while metric(server, "key_waiting", key="alice") or metric(server, "key_running", key="alice"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.post("/completion", BODY, headers=bearer("key-of-alice")).status == 200


def _leave_early(server: Server, body: dict[str, Any]) -> None:
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(f"{server.url}/completion", json=body, headers=bearer("key-of-alice"), timeout=0.5)


def test_no_key_is_told(server: Server) -> None:
    """The last test: after all of the above, the log at its most talkative, metrics and errors have names only."""
    server.post("/completion?api_key=key-of-alice", BODY, headers={"x-api-key": "key-of-nobody"})
    server.post("/completion", content=b"{", headers=bearer("key-of-bob"))
    server.get("/nowhere", headers=bearer("key-of-dave"))
    metrics = server.client.get("/metrics", headers=bearer("plain-key")).text
    props = server.client.get("/props", headers=bearer("plain-key")).text
    log = server.output()
    assert log.count("\n") > 20
    for text in (log, metrics, props):
        assert "key-of" not in text
        assert "plain-key" not in text
    for name in ("alice", "bob", "carol", "dave", "key-1"):
        assert f'rustllm:key_requests_total{{key="{name}"}}' in metrics
