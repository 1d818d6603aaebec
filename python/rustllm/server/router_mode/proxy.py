"""A request handed to the process of its model, and the answer handed back as it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rustllm.server.accounts import RATE_HEADERS, current
from rustllm.server.dialects import Dialect
from rustllm.server.disconnect import disconnected, while_connected
from rustllm.server.errors import ApiError, dumps
from rustllm.server.router_mode.models import Models, Served
from rustllm.server.router_mode.run import Run
from rustllm.server.router_mode.shared_accounts import HEADER
from rustllm.server.sse import event, named
from rustllm.server.state import request_id

log = logging.getLogger("rustllm.router")

#: What belongs to one connection, or is made anew for the other one.
_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "host", "content-length", "expect"),
    }
)

#: The router has checked the keys and says itself whose the request is, and answers browsers; the request's id is in
#: the logs of both.
_KEPT_HERE = _HOP | {"authorization", "x-api-key", HEADER, "origin", "x-request-id"}

#: The router's server and middleware write these.
_NOT_BACK = (_HOP - {"content-length"}) | {"date", "server", "vary"} | RATE_HEADERS

#: Seconds within which a process that refuses connections must be seen to have ended.
_NOTICE_SECONDS = 5.0


async def forward(
    request: Request, path: bytes, data: bytes, models: Models, served: Served, autoload: bool, dialect: Dialect
) -> Response:
    """The answer of the model's process to a request, whose path there is `path`. Raises ApiError where the
    model cannot be loaded or its process ends before it has begun to answer."""
    headers = [(name, value) for name, value in request.headers.raw if name.decode("latin-1") not in _KEPT_HERE]
    headers.append((b"x-request-id", request_id.get().encode()))
    if (account := current.get()) is not None:
        headers.append((HEADER.encode(), account.name.encode()))
    url = httpx.URL("http://localhost").copy_with(raw_path=path)

    def build() -> httpx.Request:
        return httpx.Request(request.method, url, headers=headers, content=data)

    used = request.method == "POST"
    run, answer = await while_connected(request, _begin(models, served, autoload, used, build))
    return Relayed(request, run, answer, lambda: models.release(run), dialect)


async def _begin(
    models: Models, served: Served, autoload: bool, used: bool, build: Callable[[], httpx.Request]
) -> tuple[Run, httpx.Response]:
    while True:
        run = await models.acquire(served, autoload, used)
        try:
            return run, await run.client.send(build(), stream=True)
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError):
            # The connection was refused, or reset, which it is where a process ends without having read what
            # was sent. That the process is gone is about to be noticed; the next one gets the request.
            models.release(run)
            try:
                await asyncio.wait_for(run.ended.wait(), _NOTICE_SECONDS)
            except asyncio.TimeoutError:
                raise ApiError(503, f"model {served.entry.name!r} takes no connections") from None
        except httpx.TransportError as error:
            models.release(run)
            raise _broken(run, error) from None
        except BaseException:
            models.release(run)
            raise


def _broken(run: Run, error: Exception) -> ApiError:
    log.warning("a model broke off an answer", extra={"fields": {"model": run.entry.name, "error": repr(error)}})
    return ApiError(503, f"the process of model {run.entry.name!r} has ended before its answer was complete")


class Relayed(Response):
    """An answer whose parts go on as they come. A client that goes away closes the connection to the process,
    which aborts the request there."""

    def __init__(
        self, request: Request, run: Run, answer: httpx.Response, release: Callable[[], None], dialect: Dialect
    ) -> None:
        self.status_code = answer.status_code
        self.background = None
        # Repeated headers stay apart, and their order is kept.
        raw = [(name.lower(), value) for name, value in answer.headers.raw]
        self.raw_headers = [(name, value) for name, value in raw if name.decode("latin-1") not in _NOT_BACK]
        self._request, self._run, self._answer = request, run, answer
        self._release, self._dialect = release, dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        work = asyncio.ensure_future(self._relay(send))
        gone = asyncio.ensure_future(disconnected(self._request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            try:
                await self._answer.aclose()
            finally:
                self._release()

    async def _relay(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = b""
        try:
            async for part in self._answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except httpx.TransportError as error:
            last = self._last(_broken(self._run, error))
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _last(self, error: ApiError) -> bytes:
        """The last part of a stream that broke off. Of any other answer a part is missing, and its client sees it."""
        kind = self._answer.headers.get("content-type", "")
        body = self._dialect.error(error)
        if kind.startswith("application/x-ndjson"):
            return dumps(body) + b"\n"
        if kind.startswith("text/event-stream"):
            return named(body) if "type" in body else event(body)
        raise error
