"""Pure ASGI middleware: request ids and log lines, API keys."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rustllm.server.accounts import Account, Accounts, current
from rustllm.server.dialects import Dialects
from rustllm.server.errors import ApiError
from rustllm.server.state import request_id

log = logging.getLogger("rustllm.access")

#: Read without a key, as from llama-server.
PUBLIC_PATHS = frozenset({"/health", "/v1/health", "/models", "/v1/models"})


@dataclass(frozen=True)
class PublicPaths:
    """What is read without a key."""

    paths: frozenset[str]
    #: What further paths start with.
    start: str | None = None

    def __contains__(self, path: str) -> bool:
        return path in self.paths or (self.start is not None and path.startswith(self.start))


class RequestLog:
    """Gives each request an id and writes one line when it has ended."""

    def __init__(self, app: ASGIApp, dialects: Dialects) -> None:
        self.app = app
        self.dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        ident = given if given.isascii() and given.isprintable() and 0 < len(given) <= 128 else secrets.token_hex(8)
        token = request_id.set(ident)
        started, status = perf_counter(), 0
        more = self.dialects.of(scope["path"]).id_header

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = ident
                if more is not None:
                    MutableHeaders(scope=message)[more] = ident
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            fields = {
                "request_id": ident,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(1e3 * (perf_counter() - started), 1),
            }
            level = logging.DEBUG if scope["path"] in PUBLIC_PATHS else logging.INFO
            log.log(level, "request", extra={"fields": fields})
            request_id.reset(token)


class HeadOfGet:
    """Answers HEAD as GET. The server below leaves out the body, since it looks at the request itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, receive, send)


class ApiKeys:
    """Asks for one of the keys, and counts what each asks for."""

    def __init__(self, app: ASGIApp, accounts: Accounts, dialects: Dialects, public: PublicPaths) -> None:
        self.app = app
        self.dialects = dialects
        self.accounts = accounts
        self.public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_public(scope):
            return await self.app(scope, receive, send)
        account = self.accounts.of(Headers(scope=scope))
        if account is None:
            return await self._refuse(ApiError(401, "Invalid API Key"), scope, receive, send)
        send = _with_rates(account, send)
        if scope["method"] == "POST":
            try:
                account.take_request()
            except ApiError as error:
                return await self._refuse(error, scope, receive, send)
        token = current.set(account)
        try:
            await self.app(scope, receive, send)
        finally:
            current.reset(token)

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        await error.response(self.dialects.of(scope["path"]).error(error))(scope, receive, send)

    def _is_public(self, scope: Scope) -> bool:
        # To read the list of models is free; to change it takes a key, though the path is the same.
        reads = scope["method"] in ("GET", "HEAD") and scope["path"] in self.public
        return reads or scope["method"] == "OPTIONS"


def _with_rates(account: Account, send: Send) -> Send:
    """Adds the headers about rates to an answer."""
    if not account.rates:
        return send

    async def send_with_rates(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *account.headers()]
        await send(message)

    return send_with_rates
