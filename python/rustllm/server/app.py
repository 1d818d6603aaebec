"""The FastAPI app, and the process that serves it."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from rustllm import loading
from rustllm._rustllm import Engine, InvalidRequestError, ModelError, __version__, return_large_blocks
from rustllm.config import ServerSettings
from rustllm.server import errors, pages
from rustllm.server.anthropic import errors as anthropic
from rustllm.server.anthropic.router import router as messages
from rustllm.server.dialects import Dialects
from rustllm.server.fair_queue import FairQueue
from rustllm.server.held_bodies import HoldBodies
from rustllm.server.middleware import PUBLIC_PATHS, ApiKeys, HeadOfGet, PublicPaths, RequestLog
from rustllm.server.native.completion.router import router as completion
from rustllm.server.native.control.router import router as control
from rustllm.server.native.embedding.router import router as embedding
from rustllm.server.native.health.router import router as health
from rustllm.server.native.infill.router import router as infill
from rustllm.server.native.lora.router import router as lora
from rustllm.server.native.metrics.router import router as metrics
from rustllm.server.native.props.router import router as props
from rustllm.server.native.rerank.router import router as rerank
from rustllm.server.native.slots.router import router as slots
from rustllm.server.native.streams.router import router as streams
from rustllm.server.native.tokenize.router import router as tokenize
from rustllm.server.ollama import errors as ollama
from rustllm.server.ollama.router import router as ollama_router
from rustllm.server.openai.audio.router import router as audio
from rustllm.server.openai.chat.router import router as chat
from rustllm.server.openai.completions.router import router as completions
from rustllm.server.openai.embeddings.router import router as embeddings
from rustllm.server.openai.models.router import router as models
from rustllm.server.openai.responses.router import router as responses
from rustllm.server.origins import LOCAL_ORIGINS, Origins
from rustllm.server.protocol import bounded_protocol
from rustllm.server.router_mode.link import Link
from rustllm.server.router_mode.shared_accounts import entrusted
from rustllm.server.sleep import Activity, Sleep
from rustllm.server.state import Model, ServerState
from rustllm.server.unix_socket import bound_socket, is_socket
from rustllm.server.vllm.router import router as vllm

log = logging.getLogger("rustllm.server")

#: Seconds that a drain waits for running requests.
DRAIN_SECONDS = 30.0

#: Seconds of these in which answers that would go on are told so.
ENDING_SECONDS = 2.0

#: Objects that Python makes before it looks for circles among them. With its own 700, parsing a body of half a
#: million lists spends five times as long on that as on the lists.
GC_THRESHOLD = 10_000

DIALECTS = (anthropic.DIALECT, ollama.DIALECT)

#: Texts that several keys' requests embed at once.
EMBEDDED_AT_ONCE = 64

#: Files that a server has open beside its connections, at most.
SPARE_FILES = 256


def create_app(settings: ServerSettings, engine: Engine | None = None, link: Link | None = None) -> FastAPI:
    """The app. With an engine it serves at once; without one it loads the model when it starts. A link
    leads to the router that has started the process."""
    state = ServerState(settings, None if link is None or link.keys is None else entrusted(link.keys))
    state.link = link

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.end = partial(_fail, state)
        tasks = [asyncio.create_task(_load(state, engine))]
        if state.sleep is not None:
            tasks.append(asyncio.create_task(state.sleep.watch(settings.sleep_idle_seconds)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await _shut_down(state)

    app = FastAPIOffline(title="rustllm", version=__version__, lifespan=lifespan, redirect_slashes=False)
    app.state.server = state
    dialects = Dialects(DIALECTS, settings.api_prefix)
    errors.install(app, lambda path, error: dialects.of(path).error(error))
    openai = (chat, responses, completions, embeddings, models, audio)
    native = (completion, infill, tokenize, embedding, rerank, props, slots, lora, metrics, streams, control)
    for router in (health, *openai, messages, ollama_router, vllm, *native):
        app.include_router(router, prefix=settings.api_prefix)
    pages.install(app, settings)
    if settings.metrics:
        # Its library takes a megabyte, which a server without it need not pay.
        from rustllm.server.native.metrics.service import Metrics

        state.metrics = Metrics(state)
    if settings.sleep_idle_seconds > 0:
        state.sleep = Sleep(state, lambda: load_engine(settings, link))
        app.add_middleware(Activity, sleep=state.sleep, prefix=settings.api_prefix)
    add_middleware(app, state, dialects)
    return app


def add_middleware(app: FastAPI, state: ServerState, dialects: Dialects) -> None:
    """What every request passes before its route: its id, the checks of web pages, keys, the count of its body."""
    settings = state.settings
    app.add_middleware(HoldBodies, bodies=state.bodies)
    if state.accounts.all:
        paths, start = pages.public_paths(settings)
        public = PublicPaths(paths | {settings.api_prefix + path for path in PUBLIC_PATHS}, start)
        app.add_middleware(ApiKeys, accounts=state.accounts, dialects=dialects, public=public)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_origin_regex=None if "*" in settings.cors_origins else LOCAL_ORIGINS,
        allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
        allow_headers=["*"],
    )
    app.add_middleware(Origins, settings=settings, dialects=dialects)
    app.add_middleware(HeadOfGet)
    app.add_middleware(RequestLog, dialects=dialects)


async def _load(state: ServerState, engine: Engine | None) -> None:
    try:
        model = await load_model(state, engine)
        if state.link is None:
            announce(state.settings, model.native)
        else:
            state.link.report("ready")
    except InvalidRequestError as error:
        _fail(state, str(error))
    except (ModelError, OSError, ValueError, RuntimeError) as error:
        _fail(state, f"cannot load the model: {error}")


async def load_model(state: ServerState, engine: Engine | None = None) -> Model:
    """Loads the model of an app, which serves from then on. Raises InvalidRequestError where the grammar of
    requests that name none is broken, else ModelError, OSError, ValueError or RuntimeError."""
    loop = asyncio.get_running_loop()
    native = engine if engine is not None else await loop.run_in_executor(None, load_engine, state.settings, state.link)
    await loop.run_in_executor(None, check_grammar, state.settings, native)
    template = loading.make_template(state.settings, native)
    caps = template.capabilities()
    state.model = Model(state.watch(native), template, caps, str(state.settings.model_path), state.settings.name)
    if len(state.accounts.all) > 1:
        max_waiting = state.settings.limits["queue"]
        # One more than there are slots, so that none waits for this loop.
        state.model.turns = FairQueue(native.n_slots + 1, max_waiting, lambda: state.pace)
        state.model.embedding_turns = FairQueue(EMBEDDED_AT_ONCE, max_waiting, lambda: state.pace)
    return state.model


@asynccontextmanager
async def without_server(settings: ServerSettings, engine: Engine) -> AsyncIterator[FastAPI]:
    """The app for requests of this process alone, with an engine that is shut down afterwards. Nothing listens
    and no signal is raised. Raises what `load_model` raises."""
    app = create_app(settings)
    state: ServerState = app.state.server
    try:
        await load_model(state, engine)
        yield app
    finally:
        await _shut_down(state)
        await asyncio.get_running_loop().run_in_executor(None, engine.shutdown)


def _fail(state: ServerState, reason: str) -> None:
    """Ends a server that cannot serve, and says why however quiet it is to be."""
    state.failure = reason
    if state.link is not None:
        state.link.report("failed", message=reason)
    if log.isEnabledFor(logging.ERROR):
        log.error("%s", reason)
    else:
        print(reason, file=sys.stderr, flush=True)
    signal.raise_signal(signal.SIGTERM)


def check_grammar(settings: ServerSettings, engine: Engine) -> None:
    """Compiles the grammar of requests that name none once, so that a broken one is found when the server
    starts. Raises InvalidRequestError that names the flag."""
    if settings.grammar is not None and engine.info["generates"]:
        kind, source = settings.grammar
        engine.compile_grammar(kind, source, param=settings.grammar_flag, strict=settings.strict_schema)


def load_engine(settings: ServerSettings, link: Link | None = None) -> Engine:
    """Loads the model that the settings name."""

    def progress(fraction: float) -> bool:
        if link is not None:
            link.report_progress(fraction)
        elif sys.stderr.isatty():
            print(f"\rloading {settings.model_path}: {fraction:4.0%}", end="", file=sys.stderr, flush=True)
        return True

    engine = loading.load_engine(settings, progress)
    if sys.stderr.isatty() and link is None:
        print(file=sys.stderr)
    return engine


def announce(settings: ServerSettings, engine: Engine) -> None:
    """Says where the server is and how to try it."""
    scheme = "http" if settings.ssl_key_file is None else "https"
    address, option = f"{scheme}://{settings.host}:{settings.port}{settings.api_prefix}", ""
    if is_socket(settings.host):
        address, option = f"{scheme}://localhost{settings.api_prefix}", f"--unix-socket {settings.host} "
    path, body = "/v1/embeddings", '{"input": "Once upon a time"}'
    if engine.info["generates"]:
        path = "/v1/chat/completions"
        body = '{"messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 32}'
    elif engine.pooling == "rank":
        path, body = "/v1/rerank", '{"query": "time", "documents": ["Once upon a time", "Far away"]}'
    print(
        f"rustllm {__version__} serves {settings.name} at {option}{address} "
        f"({engine.n_slots} slots of {engine.n_ctx} tokens)\n"
        f"{_page_line(settings, address)}"
        f"try: curl {option}{address}{path} -d '{body}'",
        flush=True,
    )


def _page_line(settings: ServerSettings, address: str) -> str:
    """Where the page is, unless there is none or no browser could get there."""
    return f"chat: {address}/\n" if settings.webui and not is_socket(settings.host) else ""


async def _shut_down(state: ServerState) -> None:
    state.draining = True
    state.streams.close()
    if state.model is not None:
        state.model.engine.stop()
        await asyncio.get_running_loop().run_in_executor(None, state.model.native.shutdown)
    state.workers.shutdown(wait=False, cancel_futures=True)
    state.files.shutdown(wait=False, cancel_futures=True)


def run(settings: ServerSettings, link: Link | None = None, engine: Engine | None = None) -> int:
    """Serves one model until SIGTERM or SIGINT; a second one ends at once. Returns the exit status."""
    app = create_app(settings, engine, link)
    state: ServerState = app.state.server

    def end_answers() -> None:
        # Answers that still run get an error from the engine, and with it their last event.
        state.draining = True
        if state.model is not None:
            asyncio.get_running_loop().run_in_executor(None, state.model.native.shutdown)

    started = serve(app, settings, ending=end_answers)
    return 1 if state.failure is not None or not started else 0


class _Server(uvicorn.Server):
    """Tells answers without an end that the server ends: before it waits for all answers, and before it cuts off
    those that it has waited for in vain."""

    closing: Callable[[], None] | None = None
    ending: Callable[[], None] | None = None
    handshake_seconds: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            # uvicorn has no setting for it; a minute is what those who say nothing would have.
            loop = asyncio.get_running_loop()
            serve_tls = partial(loop.create_server, ssl_handshake_timeout=self.handshake_seconds)
            loop.create_server = serve_tls  # type: ignore[method-assign]
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.closing is not None:
            self.closing()
        if self.ending is not None:
            asyncio.get_running_loop().call_later(DRAIN_SECONDS - ENDING_SECONDS, self.ending)
        await super().shutdown(sockets)


def allow_files(wanted: int) -> None:
    """Lets the process open so many files, if the system's hard limit does: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def serve(
    app: FastAPI,
    settings: ServerSettings,
    closing: Callable[[], None] | None = None,
    ending: Callable[[], None] | None = None,
) -> bool:
    """Serves an app until SIGTERM or SIGINT, and says whether it could start; `closing` is called when no
    further requests are taken and those that run are waited for, `ending` when the wait is nearly over."""
    config: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": bounded_protocol(settings.limits),
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": int(DRAIN_SECONDS),
        "timeout_keep_alive": 30,
        "ssl_keyfile": settings.ssl_key_file,
        "ssl_certfile": settings.ssl_cert_file,
    }
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    # Going through what is there for good, a hundred thousand objects, would hold up all streams for 30 ms.
    gc.freeze()
    return_large_blocks()
    allow_files(settings.limits["connections"] + SPARE_FILES)
    server = _Server(uvicorn.Config(app, **config))
    server.closing, server.ending = closing, ending
    server.handshake_seconds = settings.limits["header_seconds"]
    # uvicorn raises the signals that it has handled once more when it has ended; here they ask for
    # an orderly end and have had it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        with bound_socket(settings.host) as sockets:
            server.run(sockets=sockets)
    except OSError as error:
        print(f"cannot listen on {settings.host}: {error.strerror or error}", file=sys.stderr, flush=True)
        return False
    return server.started
