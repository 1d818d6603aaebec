"""The flags of `rustllm batch`, and what they make happen."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rustllm.config import ServerSettings, UsageError
from rustllm.flags.command import add_server_flags, reader
from rustllm.flags.kinds import Integer
from rustllm.flags.limited import OF_REQUESTS
from rustllm.flags.table import Flag
from rustllm.limits import Limits

if TYPE_CHECKING:
    import httpx

    from rustllm.batch.journal import Journal
    from rustllm.batch.progress import Watch
    from rustllm.batch.requests import Request, Requests

#: Most requests at a time.
_MAX_CONCURRENCY = 1024

#: Requests at a time that a server elsewhere gets unless it is told otherwise.
_AT_URL = 16

#: Groups of the server's flags that mean something without a server.
_GROUPS = ("Model and engine", "Embeddings", "Chat", "Log", "Defaults of requests")

_USAGE = "rustllm batch [-m MODEL | --url URL] INPUT.jsonl -o OUTPUT.jsonl [--errors FILE] [flags]"

_AGAIN = "the same command goes on from here"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.usage = _USAGE
    parser.add_argument("input", type=Path, metavar="INPUT.jsonl", help="requests as OpenAI's batch API takes them")
    output = "where the answers go; what is there already is not done again"
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=output)
    errors = "where the answers of requests that fail go instead"
    parser.add_argument("--errors", type=Path, metavar="FILE", help=errors)
    concurrency = Flag(("--concurrency",), "concurrency", Integer(1, _MAX_CONCURRENCY), "")
    shown = f"requests at a time (-np, else 32; {_AT_URL} with --url)"
    parser.add_argument("--concurrency", type=reader(concurrency), metavar="N", help=shown)
    parser.add_argument("--url", metavar="URL", help="have a running server answer instead of a model in this process")
    key = "the key that this server asks for (env: LLAMA_API_KEY)"
    parser.add_argument("--api-key", metavar="KEY", default=os.environ.get("LLAMA_API_KEY") or None, help=key)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_server_flags(parser, _GROUPS, hidden=("strict_schema", *OF_REQUESTS))


def run(options: argparse.Namespace) -> int:
    """Answers what is not answered yet."""
    from rustllm.batch.journal import Journal
    from rustllm.batch.progress import Watch, sentence
    from rustllm.batch.requests import Requests
    from rustllm.batch.run import Counts, ServerGone
    from rustllm.batch.source import server_url

    _check_files(options)
    if options.url and options.server:
        raise UsageError(f"{options.server[0]} is for a model in this process; the server of --url has its own flags")
    where = server_url(options.url) if options.url else _settings(options)
    requests = Requests.read(options.input)
    with Journal.opened(options.output, options.errors) as journal:
        done = journal.resume(requests)
        failed = sum(done.values())
        watch = Watch(Counts(len(requests), len(done) - failed, failed, len(done)))
        todo = [request for request in requests if request.custom_id not in done]
        interrupted = False
        try:
            if todo:
                _answer(options, where, requests, todo, journal, watch)
        except (KeyboardInterrupt, asyncio.CancelledError):
            interrupted = True
        except ServerGone as error:
            raise RuntimeError(f"{error}; {watch.counts.done} of {len(requests)} requests are done, {_AGAIN}") from None
    summary = watch.summary(options.output, options.errors, interrupted)
    print(json.dumps(summary) if options.json else sentence(summary))
    if interrupted:
        print(f"interrupted; {_AGAIN}", file=sys.stderr)
        return 130
    return 1 if watch.counts.failed else 0


def _check_files(options: argparse.Namespace) -> None:
    named = {"INPUT": options.input, "--output": options.output, "--errors": options.errors}
    seen: dict[Path, str] = {}
    for name, path in named.items():
        if path is not None:
            other = seen.setdefault(path.resolve(), name)
            if other != name:
                raise UsageError(f"{name}: {path} is {other} as well; name another file")


def _settings(options: argparse.Namespace) -> ServerSettings:
    """What a server with these flags would be told. Raises UsageError."""
    from rustllm.cli.server import check_requests, set_up_log
    from rustllm.config import parse

    # A line for each request, as the server's log has it, would tear the bar apart.
    asked = parse(["--verbosity", "1", *options.server], os.environ)
    settings = ServerSettings.from_arguments(asked)
    check_requests(settings, asked.sources)
    set_up_log(settings)
    for warning in asked.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return settings


def _answer(
    options: argparse.Namespace,
    where: ServerSettings | str,
    requests: Requests,
    todo: list[Request],
    journal: Journal,
    watch: Watch,
) -> None:
    from rustllm.batch.run import Batch
    from rustllm.batch.source import at_url, in_process

    concurrency: int = options.concurrency or _AT_URL
    source: AbstractAsyncContextManager[httpx.AsyncClient]
    if isinstance(where, str):
        source = at_url(where, options.api_key)
    else:
        from rustllm.server.app import load_engine

        settings, concurrency = _for_batch(where, options.concurrency, requests)
        source = in_process(settings, load_engine(settings))

    async def work() -> None:
        _cancel_on_interrupt()
        async with source as client:
            with watch.shown():
                batch = Batch(client, requests, todo, journal, watch.counts, watch.changed)
                await batch.run(min(concurrency, len(todo)))

    asyncio.run(work())


def _for_batch(settings: ServerSettings, concurrency: int | None, requests: Requests) -> tuple[ServerSettings, int]:
    """The settings with the model's file and slots for all requests at a time, and how many these are."""
    from rustllm._rustllm import read_gguf
    from rustllm.cli.server import fetch
    from rustllm.llm.loaded import MAX_QUEUE, N_PARALLEL, context_length, find_model

    settings = fetch(settings)
    path = find_model(settings.model)
    n = concurrency or settings.n_parallel or N_PARALLEL
    if settings.n_parallel is None:
        # Each has the context that a server's slots have with these flags; what they do not use takes no memory.
        each = settings.n_ctx or context_length(read_gguf(path)["metadata"])
        settings = dataclasses.replace(settings, n_parallel=n, n_ctx=each * n, kv_unified=False)
    alone = dataclasses.replace(
        settings,
        model=path,
        limits=Limits({**settings.limits.given, "queue": MAX_QUEUE, "request_seconds": 0}),
        embeddings=settings.embeddings or any(request.url == "/v1/embeddings" for request in requests),
        # The rest is about a server that is reached from outside and waits for requests.
        api_keys=(),
        api_prefix="",
        metrics=False,
        webui=False,
        sleep_idle_seconds=-1,
    )
    return alone, n


def _cancel_on_interrupt() -> None:
    """Has the first Ctrl-C end this task in order; a second one ends the process."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, cancel)
