"""Server-sent events from an async generator."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from rustllm.server.errors import dumps, from_exception

log = logging.getLogger("rustllm.server")


async def stream(
    events: AsyncIterator[dict[str, Any] | bytes], *, done: bool, headers: dict[str, str]
) -> StreamingResponse:
    """Awaits the first event, so that an error before it has its own status, then streams.

    An event is a value to be written as JSON, or bytes that are an event already. With `done`, the
    stream ends with OpenAI's `[DONE]`.
    """
    first = await anext(events, None)

    async def body() -> AsyncIterator[bytes]:
        try:
            if first is not None:
                yield _event(first)
            async for event in events:
                yield _event(event)
            if done:
                yield b"data: [DONE]\n\n"
        except Exception as error:
            if not hasattr(error, "status"):
                log.exception("a stream failed")
            yield b"data: " + dumps(from_exception(error).body()) + b"\n\n"
        finally:
            aclose = getattr(events, "aclose", None)
            if aclose is not None:
                await aclose()

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-cache", **headers})


def _event(event: dict[str, Any] | bytes) -> bytes:
    return event if isinstance(event, bytes) else b"data: " + dumps(event) + b"\n\n"


class TextEvents:
    """Events that differ in one text only: the rest is written once."""

    #: Where the text goes, as JSON. The first such place counts.
    _PLACE = b'"\\u0000text"'

    def __init__(self, event: dict[str, Any]) -> None:
        """`event` has the text "\\0text" where the texts will be."""
        before, _, after = _event(event).partition(self._PLACE)
        self._before, self._after = before, after

    def event(self, text: str) -> bytes:
        """The event with `text`."""
        return self._before + dumps(text) + self._after
