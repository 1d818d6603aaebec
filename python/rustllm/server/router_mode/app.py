"""The router's app: the same endpoints as for one model, each of them handed on."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from rustllm._rustllm import __version__
from rustllm.config import ServerSettings
from rustllm.flags.table import AnyFlag
from rustllm.server import errors, pages
from rustllm.server.accounts import Accounts
from rustllm.server.app import DIALECTS, add_middleware, create_app, serve
from rustllm.server.dialects import Dialects
from rustllm.server.router_mode.arguments import environment, inherited
from rustllm.server.router_mode.catalog import Catalog
from rustllm.server.router_mode.downloads import Downloads
from rustllm.server.router_mode.models import Models
from rustllm.server.router_mode.router import OF_ONE_MODEL, OWN_PATHS, api_routes, asks_for_model, proxied, router
from rustllm.server.router_mode.shared_accounts import share
from rustllm.server.state import ServerState
from rustllm.server.unix_socket import is_socket

#: Longest path of a directory for sockets; their own names and the system's bound of 103 bytes leave this.
_MAX_DIRECTORY = 80


def create_router(settings: ServerSettings, models: Models, downloads: Downloads, accounts: Accounts) -> FastAPI:
    """The app that serves `models` by their names to whoever has one of the keys of `accounts`."""

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
    state = ServerState(settings, accounts)
    app.state.server, app.state.models, app.state.downloads = state, models, downloads
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
    add_middleware(app, state, dialects)
    return app


def _announce(settings: ServerSettings, models: Models) -> None:
    scheme = "http" if settings.ssl_key_file is None else "https"
    address = f"{scheme}://{settings.host}:{settings.port}{settings.api_prefix}"
    where = settings.host if is_socket(settings.host) else address
    print(f"rustllm {__version__} serves {len(list(models))} models at {where}: {models.names()}", flush=True)


def run(settings: ServerSettings, line: Iterable[tuple[AnyFlag, list[str]]]) -> int:
    """Serves several models until SIGTERM or SIGINT; `line` is the command line. Returns the exit status."""
    keys = settings.api_keys
    with private_directory() as directory:
        accounts = share(keys, directory) if keys else Accounts(keys)
        environ = environment(os.environ, settings.hf_token, directory if keys else None)
        models = Models(settings, Catalog(settings, inherited(line)), environ, directory)
        app = create_router(settings, models, Downloads(models, environ), accounts)
        return 0 if serve(app, settings, models.events.close) else 1


@contextmanager
def private_directory() -> Iterator[Path]:
    """A directory that only this user may enter, gone afterwards: for sockets, and for what keys may ask for."""
    directory = tempfile.mkdtemp(prefix="rustllm-")
    if len(directory) > _MAX_DIRECTORY:
        os.rmdir(directory)
        directory = tempfile.mkdtemp(prefix="rustllm-", dir="/tmp")
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # What cleans /tmp of old files leaves out directories that are locked.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield Path(directory)
    finally:
        os.close(descriptor)
        shutil.rmtree(directory, ignore_errors=True)
