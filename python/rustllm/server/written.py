"""Whole answers as bytes, which are made in pieces, so that a large one holds no other request up.

An answer is JSON that may have `Items` in it: arrays whose items are made when they are written. `answer` does the
work of a request and writes what comes of it, a little at a time; what is too large to be held in memory is sent
while it is made, at the client's pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rustllm.server.disconnect import disconnected, while_connected
from rustllm.server.errors import dumps

#: Bytes of an answer that are made before any are sent. One that has no more is sent with its length.
HELD_BYTES = 1 << 20

#: Bytes that are sent at once of one that has.
_BLOCK = 64 << 10

#: Seconds of writing after which others have their turn.
_TURN = 0.005


class Items:
    """An array of JSON whose items are made each time that it is read."""

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())


def pieces(value: Any) -> Iterator[bytes]:
    """The JSON of a value, in pieces where there are `Items` in it."""
    try:
        whole = orjson.dumps(value)
    except TypeError:
        # It has Items in it, or a text that is not Unicode.
        yield from _parts(value)
    else:
        yield whole


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, (Items, list, tuple)):
        lead = b"["
        for item in value:
            yield lead
            yield from pieces(item)
            lead = b","
        yield b"[]" if lead == b"[" else b"]"
    elif isinstance(value, dict):
        lead = b"{"
        for name, item in value.items():
            yield lead + dumps(name) + b":"
            yield from pieces(item)
            lead = b","
        yield b"{}" if lead == b"{" else b"}"
    else:
        yield dumps(value)


async def answer(
    request: Request, work: Coroutine[Any, Any, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """The answer that `work` returns. A client that leaves before it is sent has the work cancelled."""
    head, rest = await while_connected(request, _begun(work))
    if rest is None:
        return Response(head, media_type="application/json", headers=headers)
    return _Sent(request, head, rest, headers)


async def _begun(work: Coroutine[Any, Any, Any]) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """The first bytes of an answer, and the rest where there is one."""
    rest = blocks(pieces(await work))
    head = bytearray()
    async for block in rest:
        if len(head) > HELD_BYTES:
            return bytes(head), _after(block, rest)
        head += block
    return bytes(head), None


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block


async def blocks(given: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces joined to blocks of some size. Between them other tasks get their turns."""
    block = bytearray()
    began = perf_counter()
    for piece in given:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
        if perf_counter() - began > _TURN:
            await asyncio.sleep(0)
            began = perf_counter()
    if block:
        yield bytes(block)


class _Sent(Response):
    """An answer that is sent while it is made, at the pace of its client."""

    def __init__(
        self, request: Request, head: bytes, rest: AsyncIterator[bytes], headers: Mapping[str, str] | None
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({**(headers or {}), "Content-Type": "application/json"})
        self._request, self._head, self._rest = request, head, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what is there and then the rest, until the client leaves."""
        gone = asyncio.ensure_future(disconnected(self._request))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._head, "more_body": True})
            async for block in self._rest:
                if gone.done():
                    break
                await send({"type": "http.response.body", "body": block, "more_body": True})
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
