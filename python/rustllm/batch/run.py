"""Asking for everything that the journal does not have, so many requests at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from rustllm.batch.journal import Journal
from rustllm.batch.requests import Request, Requests

#: Seconds between two groups of lines that are written.
SAVE_SECONDS = 0.25

#: Seconds to wait before a server that is busy or away is asked again; after the last it is given up.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)

_JSON = {"Content-Type": "application/json"}

#: A server says that it cannot answer now.
_BUSY = frozenset({429, 502, 503, 504})


@dataclass
class Counts:
    """How far a batch is; `skipped` are those of `completed` and `failed` that earlier runs have done."""

    total: int
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    #: Of this run alone.
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def done(self) -> int:
        """Requests that nothing is left to do for."""
        return self.completed + self.failed


class ServerGone(RuntimeError):
    """The server does not answer any more, or does not let us in. What it has answered is on the disk."""


class Batch:
    """The requests of one run."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        requests: Requests,
        todo: Sequence[Request],
        journal: Journal,
        counts: Counts,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called when the counts have changed."""
        self._client = client
        self._requests = requests
        # All askers take from this one iterator.
        self._todo = iter(todo)
        self._journal = journal
        self._counts = counts
        self._changed = changed

    async def run(self, concurrency: int) -> None:
        """Asks until all is done. However it ends, what has been answered is on the disk afterwards.

        Raises ServerGone, OSError where the journal cannot be written, ValueError where the input has changed.
        """
        askers = [asyncio.create_task(self._ask()) for _ in range(concurrency)]
        saver = asyncio.create_task(self._save())
        tasks: list[asyncio.Task[None]] = [*askers, saver]
        try:
            waiting = set(tasks)
            while waiting != {saver}:
                ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._journal.save()

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await asyncio.to_thread(self._journal.save)

    async def _ask(self) -> None:
        for request in self._todo:
            body = self._requests.body(request)
            if body.get("stream") is True:
                self._note(request, _refused_stream(), None)
                continue
            try:
                answer = await self._answer(request, body)
            except httpx.RequestError as error:
                # The server is there, but the connection broke each time this was asked.
                message = f"the connection broke: {error or type(error).__name__}"
                self._note(request, None, {"code": "connection_error", "message": message})
                continue
            self._note(request, answer, None)

    async def _answer(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """The response of a line. Raises ServerGone, or RequestError where this request breaks connections."""
        # What JSON does not allow, NaN, goes on as it came: the server's to refuse.
        data = json.dumps(body).encode()
        for pause in (*PAUSES, None):
            try:
                found = await self._client.post(request.url, content=data, headers=_JSON)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if pause is None:
                    raise ServerGone(f"no answer from {self._client.base_url}: {error}") from None
            except httpx.RequestError:
                if pause is None:
                    raise
            else:
                if found.status_code in (401, 403):
                    raise ServerGone(f"{self._client.base_url} refuses with status {found.status_code}")
                if found.status_code not in _BUSY:
                    return _response(found)
                if pause is None:
                    raise ServerGone(f"{self._client.base_url} is busy: {found.text[:200]}")
                pause = max(pause, _retry_after(found))
            await asyncio.sleep(pause or 0.0)
        raise AssertionError("the last pause ends the loop")

    def _note(self, request: Request, response: dict[str, Any] | None, error: dict[str, Any] | None) -> None:
        if self._journal.add(request, response, error):
            self._counts.failed += 1
        else:
            self._counts.completed += 1
        usage = _usage(response)
        self._counts.prompt_tokens += usage[0]
        self._counts.completion_tokens += usage[1]
        self._changed()


def _refused_stream() -> dict[str, Any]:
    """The response to a request that wants a stream, which a line cannot be."""
    message = "stream: true is not allowed in a batch; allowed: false"
    error = {"message": message, "type": "invalid_request_error", "code": 400, "param": "stream"}
    return {"status_code": 400, "request_id": "", "body": {"error": error}}


def _response(found: httpx.Response) -> dict[str, Any]:
    try:
        body = found.json()
    except ValueError:
        body = {"error": {"message": found.text, "type": "server_error", "code": found.status_code, "param": None}}
    return {"status_code": found.status_code, "request_id": found.headers.get("x-request-id", ""), "body": body}


def _retry_after(found: httpx.Response) -> float:
    text = found.headers.get("retry-after", "")
    # It may be a date, too, which no server of models sends.
    return min(float(text), PAUSES[-1]) if text.isdecimal() else 0.0


def _usage(response: dict[str, Any] | None) -> tuple[int, int]:
    """Tokens of the prompt and of the answer, by the names of any of the endpoints."""
    body = response["body"] if response is not None else None
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return 0, 0

    def count(*names: str) -> int:
        return next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)

    return count("prompt_tokens", "input_tokens"), count("completion_tokens", "output_tokens")
