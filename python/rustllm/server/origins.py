"""Which web pages may ask: the checks of `Host` and `Origin`, against pages that speak for their visitor.

A page can have the browser of whoever visits it send requests to this machine. Two things tell these from
others. A page that has its own name resolve to 127.0.0.1 (DNS rebinding) sends that name as `Host`; names
that only the operator can give are fine, and so are addresses, which nobody resolves. Any other page is
named by `Origin`. It could not read an answer, which is CORS's part, but it could have one made; so it is
refused as well.
"""

from __future__ import annotations

import ipaddress
import logging
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rustllm.config import ServerSettings
from rustllm.server.dialects import Dialects
from rustllm.server.errors import ApiError
from rustllm.server.unix_socket import is_socket

log = logging.getLogger("rustllm.access")

LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"

#: What changes nothing, and what asks on behalf of other methods.
_READING = frozenset({"GET", "HEAD", "TRACE"})


class Origins:
    """Refuses what a foreign web page has a browser send."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, dialects: Dialects) -> None:
        self.app = app
        self.dialects = dialects
        self._hosts = _own_hosts(settings)
        self._origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        fault = self._host_fault(headers) or self._origin_fault(scope["method"], headers)
        if fault is None:
            return await self.app(scope, receive, send)
        error = ApiError(403, fault)
        await error.response(self.dialects.of(scope["path"]).error(error))(scope, receive, send)

    def _host_fault(self, headers: Headers) -> str | None:
        if self._hosts is None:
            return None
        for host in headers.getlist("host"):
            if not _is_own(_name(host), self._hosts):
                allowed = "localhost, addresses, names in --allowed-hosts"
                return f"Host: {host!r:.80} is no name of this server; allowed: {allowed}"
        return None

    def _origin_fault(self, method: str, headers: Headers) -> str | None:
        origin = headers.get("origin")
        if origin is None or method in _READING:
            return None
        if method == "OPTIONS" and "access-control-request-method" not in headers:
            return None
        if self._is_allowed(origin, headers):
            return None
        return f"Origin: pages of {origin!r:.80} may not ask; allowed: localhost, this server's own, --cors-origins"

    def _is_allowed(self, origin: str, headers: Headers) -> bool:
        if "*" in self._origins or origin in self._origins or re.fullmatch(LOCAL_ORIGINS, origin):
            return True
        scheme, _, authority = origin.partition("://")
        if scheme not in ("http", "https", "null"):
            # A program with a page inside, or an extension: what it may ask is not a web page's affair.
            return True
        # Browsers say it themselves where they trust the connection; a proxy may have changed the name.
        return headers.get("sec-fetch-site") == "same-origin" or (
            "sec-fetch-site" not in headers and authority == headers.get("host")
        )


def _own_hosts(settings: ServerSettings) -> frozenset[str] | None:
    """The names that requests may ask by; None is any."""
    given = frozenset(host.lower().rstrip(".") for host in settings.allowed_hosts)
    if is_socket(settings.host) or "*" in given:
        return None
    if not given and not _is_loopback(settings.host):
        # Whoever listens to others may have any name with them.
        return None
    return given | {settings.host.lower()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _name(host: str) -> str:
    """The host without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_own(name: str, hosts: frozenset[str]) -> bool:
    # Nobody but this machine answers for these; HTTP/1.0 has no host.
    if not name or name in hosts or name == "localhost" or name.endswith((".localhost", ".internal")):
        return True
    if any(host.startswith("*.") and name.endswith(host[1:]) for host in hosts):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
