"""Who answers: the app of the server in this process, or a server that runs elsewhere. Both are asked alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from rustllm.config import ServerSettings, UsageError

if TYPE_CHECKING:
    from rustllm._rustllm import Engine

#: Seconds to connect to a server. How long an answer takes is the model's affair.
_CONNECT_SECONDS = 10.0

_TIMEOUT = httpx.Timeout(None, connect=_CONNECT_SECONDS)
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


@asynccontextmanager
async def in_process(settings: ServerSettings, engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server's app without a server: what it answers, refuses and counts is the same."""
    from rustllm.server.app import without_server

    async with without_server(settings, engine) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=_TIMEOUT) as client:
            yield client


@asynccontextmanager
async def at_url(url: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server, which must answer. Raises RuntimeError where it does not, or does not let us in."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, limits=_LIMITS) as client:
        try:
            found = await client.get("/v1/models")
        except httpx.RequestError as error:
            raise RuntimeError(f"--url: no answer from {url}: {error or type(error).__name__}") from None
        if found.status_code != 200:
            said = " ".join(found.text.split())[:200]
            raise RuntimeError(f"--url: {url}/v1/models answers with status {found.status_code}: {said}")
        yield client


def server_url(text: str) -> str:
    """The address of a server, from what a user takes for it. Raises UsageError."""
    url = text.rstrip("/")
    url = (url if "://" in url else f"http://{url}").removesuffix("/v1")
    if not _is_address(url):
        raise UsageError(f"--url: {text!r} is no server's address; allowed: http://HOST:PORT, https as well")
    return url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_server and not parts.query and not parts.fragment
