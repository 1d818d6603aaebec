"""What happens to the models, for everyone who listens at `/models/sse`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rustllm.server.sse import event

#: Events that wait for a listener who does not read; then it has missed too many and is cut off.
_MAX_WAITING = 1024

#: Seconds without an event after which a comment shows that the connection lives.
_PING_SECONDS = 15.0


class Events:
    """The listeners."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False

    def send(self, model: str, name: str, data: dict[str, Any] | None = None) -> None:
        """Tells all listeners of an event; `*` stands for all models."""
        value = {"model": model, "event": name, **({} if data is None else {"data": data})}
        self._put(event(value))

    def close(self) -> None:
        """Ends all streams."""
        self._closed = True
        self._put(None)

    def _put(self, item: bytes | None) -> None:
        for queue in list(self._listeners):
            if item is not None and queue.qsize() < _MAX_WAITING:
                queue.put_nowait(item)
            else:
                queue.put_nowait(None)
                self._listeners.discard(queue)

    async def listen(self) -> AsyncIterator[bytes]:
        """The events from now on, until the server ends."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while not self._closed:
                try:
                    item = await asyncio.wait_for(queue.get(), _PING_SECONDS)
                except asyncio.TimeoutError:
                    item = b":\n\n"
                if item is None:
                    return
                yield item
        finally:
            self._listeners.discard(queue)
