"""An engine and clients of streams, for tests that play both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastapi import Request, Response

from rustllm.config import ServerSettings
from rustllm.engine import AsyncEngine
from rustllm.server.protocol import EXTENSION
from rustllm.server.resumable import HEADER, Streams
from rustllm.server.sse import stream


class Outputs:
    """An engine that hands out what the test gives it, and notes whether it was left early."""

    n_slots = 1

    def __init__(self) -> None:
        self.engine = self
        self.aborted: list[int] = []
        self.submitted = 0

    def submit(self, *_: Any, whole: bool) -> int:
        assert not whole, "a stream wants each token when it comes"
        self.submitted += 1
        return self.submitted

    def abort(self, request_id: int) -> None:
        self.aborted.append(request_id)


@dataclass
class Output:
    text: str = ""
    kind: str = "token"
    error: str | None = None
    index: int = 0

    @property
    def is_last(self) -> bool:
        return self.kind in ("done", "error")


class Texts:
    """Events that are the texts themselves."""

    def take(self, output: Output) -> bytes:
        if output.text == "fail":
            raise ValueError("a broken service")
        return output.text.encode()

    def end(self) -> tuple[bytes, ...]:
        return (b"end ",)


class Client:
    """A server's side of one connection, with or without a writer of its own."""

    def __init__(self, *, direct: bool, engine: AsyncEngine | None = None) -> None:
        self.engine = engine or AsyncEngine(Outputs())  # type: ignore[arg-type]
        self.messages: list[Any] = []
        self.parts: list[bytes] = []
        self.gone = asyncio.Event()
        extensions = {EXTENSION: {"write": self.parts.append, "drain": self.drain}} if direct else {}
        self.scope = {"type": "http", "extensions": extensions}

    async def drain(self) -> None:
        """It reads all at once."""

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        self.parts.append(message.get("body", b""))

    def give(self, request_id: int, *outputs: Output) -> None:
        running = self.engine.running(request_id)
        for output in outputs if running is not None else ():
            running.take(output)  # type: ignore[arg-type]

    def request(self, name: str | None = None, streams: Streams | None = None) -> Request:
        """A request of this client; `name` is that of its stream."""
        headers = [] if name is None else [(HEADER.lower().encode(), name.encode())]
        state = SimpleNamespace(streams=streams, settings=ServerSettings())
        app = SimpleNamespace(state=SimpleNamespace(server=state))
        return Request({"type": "http", "headers": headers, "app": app}, self.receive)

    async def begin(
        self, parts: int = 1, name: str | None = None, streams: Streams | None = None, events: Texts | None = None
    ) -> Response:
        """The answer to such a request, once its first event is there."""
        model: Any = SimpleNamespace(engine=self.engine)
        job: Any = SimpleNamespace(prompt=[1], params=None, grammar=None, choices=1, watch=None, name=None)
        made: Any = events or Texts()
        request = self.request(name, streams)
        return await stream(request, model, [(job, made)] * parts, done=True, headers={})

    def get(self, answer: Response) -> asyncio.Future[None]:
        """Gets an answer while the test goes on."""
        return asyncio.ensure_future(answer(self.scope, self.receive, self.send))

    @property
    def aborted(self) -> list[int]:
        return self.engine.engine.aborted  # type: ignore[attr-defined, no-any-return]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


async def turns(n: int = 5) -> None:
    """Lets the other tasks run."""
    for _ in range(n):
        await asyncio.sleep(0)
