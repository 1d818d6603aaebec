"""Answers that are written in pieces."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from starlette.requests import Request

from rustllm.server.errors import ApiError
from rustllm.server.written import HELD_BYTES, Items, answer, blocks, pieces


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, "x", None]}, {"a": [1, "x", None]}),
        (Items(list), []),
        (Items(lambda: range(3)), [0, 1, 2]),
        ({"a": Items(lambda: [{"b": Items(lambda: "cd")}, 2]), "e": 1.5}, {"a": [{"b": ["c", "d"]}, 2], "e": 1.5}),
        ([Items(list), {}, [], {"a": Items(list)}], [[], {}, [], {"a": []}]),
        ({'"\n': (Items(list), 1)}, {'"\n': [[], 1]}),
        ({"a": Items(lambda: [orjson.Fragment(b"[1]")])}, {"a": [[1]]}),
        ({"a\ud800": "b\ud800", "c": Items(lambda: ["\ud800"])}, {"a?": "b?", "c": ["?"]}),
    ],
)
def test_pieces_are_the_json(value: Any, expected: Any) -> None:
    for _ in range(2):
        assert json.loads(b"".join(pieces(value))) == expected


def test_a_plain_value_is_one_piece() -> None:
    assert list(pieces({"a": [1, 2]})) == [b'{"a":[1,2]}']


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(TypeError):
        list(pieces({"a": object()}))


def slow(n: int) -> Iterator[str]:
    for _ in range(n):
        time.sleep(0.002)
        yield "x"


def test_others_have_their_turns_between_pieces() -> None:
    async def run() -> tuple[int, bytes]:
        async def count() -> int:
            n = 0
            while not done.is_set():
                n += 1
                await asyncio.sleep(0)
            return n

        done = asyncio.Event()
        counting = asyncio.ensure_future(count())
        await asyncio.sleep(0)
        data = b"".join([block async for block in blocks(pieces(Items(lambda: slow(200))))])
        done.set()
        return await counting, data

    turns, data = asyncio.run(run())
    assert json.loads(data) == ["x"] * 200
    assert turns > 20


@pytest.mark.parametrize("n", [0, 1, 6])
@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_large_is_made_while_it_is_sent(n: int, leaves: bool) -> None:
    """Up to six times 512 KiB: a head of one MiB and more, then parts at the pace of who reads."""
    made: list[int] = []
    gone = asyncio.Event()

    def items() -> Iterator[str]:
        for i in range(n):
            made.append(i)
            yield "x" * (HELD_BYTES // 2)

    async def run() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append((message, len(made)))
            if leaves and message.get("more_body"):
                gone.set()
            await asyncio.sleep(0.01)

        async def work() -> Any:
            return {"a": Items(items), "b": 1}

        request = Request({"type": "http", "headers": []}, receive)
        response = await answer(request, work(), {"X-A": "b"})
        await response({"type": "http"}, receive, send)
        return sent

    sent = asyncio.run(run())
    (start, n_first), *parts = sent
    headers = dict(start["headers"])
    assert headers[b"x-a"] == b"b"
    assert headers[b"content-type"] == b"application/json"
    body = b"".join(part["body"] for part, _ in parts)
    is_large = n > 2
    assert (b"content-length" in headers) is not is_large
    if is_large:
        assert n_first < n, "the rest is still to be made"
    if leaves and is_large:
        assert len(made) < n, "nobody reads the rest"
        return
    assert json.loads(body) == {"a": ["x" * (HELD_BYTES // 2)] * n, "b": 1}
    assert not parts[-1][0].get("more_body", False)


def test_work_whose_client_leaves_is_cancelled() -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        with pytest.raises(ApiError, match="the client closed the connection"):
            await answer(Request({"type": "http", "headers": []}, receive), work())
        assert ended.is_set()

    asyncio.run(run())


def test_what_is_there_as_a_whole_is_sent_with_its_length() -> None:
    async def run() -> Any:
        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            raise AssertionError

        async def work() -> Any:
            return {"a": "x" * (3 * HELD_BYTES)}

        return await answer(Request({"type": "http", "headers": []}, receive), work())

    response = asyncio.run(run())
    assert int(response.headers["content-length"]) == 3 * HELD_BYTES + len('{"a":""}')
