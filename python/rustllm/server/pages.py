"""The pages at `/` and `/dashboard`, with what they load: the files of `rustllm/webui`, or those of `--path`.

Our pages load nothing from elsewhere and run no script that is not a file of theirs; the headers tell the browser
to hold them to that, so that text of a model can do nothing even where the pages should fail to treat it as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from rustllm.config import ServerSettings
from rustllm.server.errors import ApiError

FOLDER = Path(__file__).resolve().parents[1] / "webui"

#: The pages by their paths.
PAGES = {"/": "index.html", "/index.html": "index.html", "/dashboard": "dashboard.html"}

#: Where the parts of the pages lie.
PARTS = "/webui/"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: Trusted types make the browser refuse text where it would be read as HTML.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The browser asks each time, and hears that nothing has changed.
    "Cache-Control": "no-cache",
}


@cache
def read_part(name: str) -> tuple[bytes, str] | None:
    """A file's bytes with its ETag; nothing for what is none of ours."""
    if name not in names():
        return None
    data = (FOLDER / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@cache
def names() -> frozenset[str]:
    """The files that there are, by their paths below the folder. Only these are ever opened."""
    files = (path for path in FOLDER.rglob("*") if path.suffix in TYPES and path.is_file())
    return frozenset(path.relative_to(FOLDER).as_posix() for path in files)


def answer(request: Request, name: str) -> Response:
    """A file, or status 304 to a browser that has it."""
    found = read_part(name)
    if found is None:
        raise ApiError(404, f"there is no {request.url.path}")
    data, etag = found
    headers = {**HEADERS, "ETag": etag}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=TYPES[Path(name).suffix])


def install(app: FastAPI, settings: ServerSettings) -> None:
    """Adds the pages to an app, below all of its other routes; none where they are switched off."""
    prefix = settings.api_prefix
    if not settings.webui:
        return
    if settings.static_path is not None:
        app.mount(prefix or "/", StaticFiles(directory=settings.static_path, html=True))
        return
    for path, name in PAGES.items():
        _add(app, prefix + path, _page(name))
    _add(app, prefix + PARTS + "{part:path}", _part)
    if prefix:
        _add(app, prefix, _to_folder)


def public_paths(settings: ServerSettings) -> tuple[frozenset[str], str | None]:
    """What is read without a key, since it has to be there before it can ask for one: paths, and the start of paths."""
    prefix = settings.api_prefix
    if not settings.webui:
        return frozenset(), None
    if settings.static_path is not None:
        return frozenset(prefix + path for path in ("/", "/index.html")), None
    return frozenset([*(prefix + path for path in PAGES), *([prefix] if prefix else [])]), prefix + PARTS


def _add(app: FastAPI, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
    app.router.routes.append(Route(path, endpoint, methods=["GET"], include_in_schema=False))


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return answer(request, name)

    return page


async def _part(request: Request) -> Response:
    return answer(request, request.path_params["part"])


async def _to_folder(request: Request) -> Response:
    # The pages name their parts relative to the folder that they lie in.
    return RedirectResponse(request.url.path.rpartition("/")[2] + "/", status_code=307)
