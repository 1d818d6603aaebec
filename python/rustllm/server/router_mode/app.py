"""The router's app: the same endpoints as for one model, each of them handed on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from rustllm._rustllm import __version__
from rustllm.config import ServerSettings
from rustllm.flags.table import AnyFlag
from rustllm.server import errors, pages
from rustllm.server.app import DIALECTS, add_middleware, create_app, serve
from rustllm.server.dialects import Dialects
from rustllm.server.router_mode.arguments import environment, inherited
from rustllm.server.router_mode.catalog import Catalog
from rustllm.server.router_mode.downloads import Downloads
from rustllm.server.router_mode.models import Models
from rustllm.server.router_mode.router import OF_ONE_MODEL, OWN_PATHS, api_routes, asks_for_model, proxied, router
from rustllm.server.state import ServerState
from rustllm.server.unix_socket import is_socket


def create_router(settings: ServerSettings, models: Models, downloads: Downloads) -> FastAPI:
    """The app that serves `models` by their names."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await models.start()
        _announce(settings, models)
        try:
            yield
        finally:
            await downloads.close()
            await models.close()

    app = FastAPIOffline(title="rustllm", version=__version__, lifespan=lifespan, redirect_slashes=False)
    app.state.server, app.state.models, app.state.downloads = ServerState(settings), models, downloads
    dialects = Dialects(DIALECTS, settings.api_prefix)
    errors.install(app, lambda path, error: dialects.of(path).error(error))
    app.include_router(router, prefix=settings.api_prefix)
    others = APIRouter()
    # The endpoints are those of a server of one model. What asks for no model is answered here.
    plain = dataclasses.replace(settings, api_prefix="", sleep_idle_seconds=-1, metrics=False, webui=False)
    single = create_app(plain)
    for route in api_routes(single.routes):
        if route.path in OWN_PATHS:
            continue
        if asks_for_model(route) or route.path in OF_ONE_MODEL:
            app.router.routes.append(proxied(route, dialects, settings.api_prefix))
        else:
            others.routes.append(route)
    app.include_router(others, prefix=settings.api_prefix)
    pages.install(app, settings)
    add_middleware(app, app.state.server, dialects)
    return app


def _announce(settings: ServerSettings, models: Models) -> None:
    scheme = "http" if settings.ssl_key_file is None else "https"
    address = f"{scheme}://{settings.host}:{settings.port}{settings.api_prefix}"
    where = settings.host if is_socket(settings.host) else address
    print(f"rustllm {__version__} serves {len(list(models))} models at {where}: {models.names()}", flush=True)


def run(settings: ServerSettings, line: Iterable[tuple[AnyFlag, list[str]]]) -> int:
    """Serves several models until SIGTERM or SIGINT; `line` is the command line. Returns the exit status."""
    environ = environment(os.environ, settings.hf_token)
    models = Models(settings, Catalog(settings, inherited(line)), environ)
    downloads = Downloads(models, environ)
    app = create_router(settings, models, downloads)
    return 0 if serve(app, settings, models.events.close) else 1
