"""What a batch makes of servers that are busy, break or change, without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rustllm.batch import run as batch
from rustllm.batch.journal import Journal
from rustllm.batch.requests import Requests

Handler = Callable[[httpx.Request], httpx.Response]

GOOD = {"usage": {"prompt_tokens": 3, "completion_tokens": 5}}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "PAUSES", (0.0, 0.0, 0.0))


def answered(directory: Path, handler: Handler, n: int = 4) -> batch.Counts:
    """The counts of `n` requests that `handler` answers."""
    path = directory / "in.jsonl"
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": {"prompt": "é\ud800"}}
        for number in range(n)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    requests = Requests.read(path)
    counts = batch.Counts(len(requests))

    async def work(journal: Journal) -> None:
        transport = httpx.MockTransport(handler)
        async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
            await batch.Batch(client, requests, list(requests), journal, counts).run(2)

    with Journal.opened(directory / "out.jsonl", None) as journal:
        asyncio.run(work(journal))
    return counts


def written(directory: Path) -> list[dict[str, Any]]:
    """The lines of the output."""
    return [json.loads(line) for line in (directory / "out.jsonl").read_text().splitlines()]


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"prompt": "é\ud800"}
        asked.append(1)
        if len(asked) % 2:
            return httpx.Response((429, 503)[len(asked) % 4 // 2], headers={"Retry-After": "1000"})
        return httpx.Response(200, json=GOOD, headers={"x-request-id": "mine"})

    counts = answered(tmp_path, handler)
    assert (counts.completed, counts.failed, len(asked)) == (4, 0, 8)
    assert (counts.prompt_tokens, counts.completion_tokens) == (12, 20)
    assert {line["response"]["request_id"] for line in written(tmp_path)} == {"mine"}


@pytest.mark.parametrize("error", [httpx.ReadError, httpx.RemoteProtocolError, httpx.DecodingError])
def test_a_connection_that_breaks_each_time_is_an_error_of_its_request(
    tmp_path: Path, error: type[httpx.RequestError]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error("reset by peer")

    assert answered(tmp_path, handler, n=1).failed == 1
    [line] = written(tmp_path)
    assert line["response"] is None
    assert line["error"] == {"code": "connection_error", "message": "the connection broke: reset by peer"}


@pytest.mark.parametrize(("status", "says"), [(503, "busy"), (401, "refuses with status 401"), (0, "no answer")])
def test_a_server_that_stays_away_ends_the_run_and_no_request(tmp_path: Path, status: int, says: str) -> None:
    asked: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        if len(asked) <= 2:
            return httpx.Response(200, json=GOOD)
        if not status:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    with pytest.raises(batch.ServerGone, match=says):
        answered(tmp_path, handler)
    assert len(written(tmp_path)) == 2


def test_answers_that_are_no_json_are_failures(tmp_path: Path) -> None:
    assert answered(tmp_path, lambda _: httpx.Response(500, text="oh no"), n=1).failed == 1
    [line] = written(tmp_path)
    assert line["response"]["status_code"] == 500
    assert line["response"]["body"]["error"]["message"] == "oh no"


def test_an_input_that_changes_meanwhile_ends_the_run(tmp_path: Path) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        (tmp_path / "in.jsonl").write_text("something else\n" * 30)
        return httpx.Response(200, json=GOOD)

    with pytest.raises(ValueError, match="has changed meanwhile"):
        answered(tmp_path, handler)


def test_what_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(Journal, "save", full)
    with pytest.raises(OSError, match="No space left"):
        answered(tmp_path, lambda _: httpx.Response(200, json=GOOD))
