"""One streamed chat completion over a connection of its own, read with as little work as can be.

The load generator shares its cores with the server that it measures. So the body is not parsed:
events are counted as bytes arrive, and only the last one is read for the numbers of tokens.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import SplitResult

#: Begins an event that is an object. JSON has no line break inside of a string, so a text cannot contain it.
EVENT = b"\ndata: {"

#: A text that is not empty, in an event of either server.
CONTENT = re.compile(rb'"content": ?"[^"]')

#: How much of the end is kept to find the usage in.
TAIL = 4096

COMPLETION_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
PROMPT_TOKENS = re.compile(rb'"prompt_tokens": ?(\d+)')


@dataclass
class Answer:
    """What a client saw of one request; times are of `time.perf_counter`."""

    client: int
    began: float
    first: float | None = None
    ended: float = 0.0
    n_prompt: int = 0
    n_tokens: int = 0
    #: When events arrived, and how many at once.
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    error: str | None = None


def request_bytes(url: SplitResult, prompt: str, n_tokens: int) -> bytes:
    """The whole request."""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": n_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST {url.path.rstrip('/')}/v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def ask(url: SplitResult, request: bytes, client: int, answer: Answer | None = None) -> Answer:
    """Sends a request and waits for the end of its answer, which is filled while it arrives."""
    answer = answer or Answer(client, 0.0)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    answer.began = time.perf_counter()
    try:
        await loop.create_connection(lambda: _Reader(request, answer, done), url.hostname or "", url.port or 80)
    except OSError as error:
        answer.error = str(error)
        answer.ended = time.perf_counter()
        return answer
    await done
    return answer


class _Reader(asyncio.Protocol):
    def __init__(self, request: bytes, answer: Answer, done: asyncio.Future[None]) -> None:
        self.request = request
        self.answer = answer
        self.done = done
        self.head = b""
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods only.
        cast(asyncio.Transport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        # An event's beginning may be split between two reads; the seven bytes before cannot hold one.
        seen = self.tail[-(len(EVENT) - 1) :] + data
        n = seen.count(EVENT)
        self.tail = (self.tail + data)[-TAIL:]
        if n:
            self.answer.arrivals.append((now, n))
        if self.answer.first is None:
            self.head += data
            if CONTENT.search(self.head):
                self.answer.first = now

    def connection_lost(self, error: Exception | None) -> None:
        answer = self.answer
        answer.ended = time.perf_counter()
        status = self.head.split(b" ", 2)[1:2]
        counted = COMPLETION_TOKENS.search(self.tail)
        prompted = PROMPT_TOKENS.search(self.tail)
        if status != [b"200"]:
            answer.error = self.tail[-300:].decode("utf-8", "replace").strip() or str(error or "no answer")
        elif answer.first is None or counted is None:
            answer.error = f"the stream ended early: {self.tail[-200:]!r}"
        else:
            answer.n_tokens = int(counted.group(1))
            answer.n_prompt = int(prompted.group(1)) if prompted else 0
        if not self.done.done():
            self.done.set_result(None)
