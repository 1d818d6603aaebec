"""Clients that stream from a running server: so many at all times, or arriving at random."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rustllm.bench.latency import Goals, Summary, summarize
from rustllm.bench.stream import Answer, ask, request_bytes

#: Frequent words, a token each in most vocabularies.
_TEXT = (
    "time people way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area "
    "money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name president team minute idea kid body "
    "information back parent face others level office door health person art war history party result change morning "
    "reason research girl guy moment air teacher force education"
)
WORDS = _TEXT.split()


@dataclass(frozen=True)
class Load:
    """What is asked of the server."""

    url: str
    n_prompt: int = 64
    n_gen: int = 128
    #: Requests of each client that waits for its answer before it asks again.
    requests: int = 3
    goals: Goals = field(default_factory=Goals)
    seed: int = 1


def split_url(url: str) -> SplitResult:
    """The parts of a server's address; ValueError where it is none."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"url: {url!r} is not a server's address; allowed: http://HOST:PORT")
    return parts


def closed(load: Load, clients: int) -> Summary:
    """`clients` clients, each asking again once its answer is complete. Raises RuntimeError where a request fails."""

    async def run(prompts: Prompts) -> list[Answer]:
        async def client(index: int) -> list[Answer]:
            return [await ask(prompts.url, prompts.next(), index) for _ in range(load.requests)]

        return [answer for answers in await asyncio.gather(*map(client, range(clients))) for answer in answers]

    return _measured(load, run, test=f"{clients} clients", clients=clients, rate=None)


def poisson(load: Load, rate: float, n_requests: int) -> Summary:
    """`n_requests` requests that arrive at random, `rate` of them a second on average, whatever runs already."""

    async def run(prompts: Prompts) -> list[Answer]:
        gaps = random.Random(load.seed)
        tasks = []
        for index in range(n_requests):
            tasks.append(asyncio.create_task(ask(prompts.url, prompts.next(), index)))
            await asyncio.sleep(gaps.expovariate(rate))
        return list(await asyncio.gather(*tasks))

    return _measured(load, run, test=f"{rate:g} requests/s", clients=None, rate=rate)


class Prompts:
    """Requests whose prompts differ from their first word on, the same ones for the same seed."""

    def __init__(self, load: Load, seed: str) -> None:
        self.url = split_url(load.url)
        self.load = load
        self.random = random.Random(f"{load.seed} {seed}")

    def next(self) -> bytes:
        """The next request."""
        words = self.random.choices(WORDS, k=max(1, self.load.n_prompt))
        return request_bytes(self.url, " ".join(words), self.load.n_gen)


def _measured(
    load: Load,
    run: Callable[[Prompts], Coroutine[Any, Any, list[Answer]]],
    *,
    test: str,
    clients: int | None,
    rate: float | None,
) -> Summary:
    prompts = Prompts(load, test)
    before, began = _cpu_seconds(), time.perf_counter()
    answers = _run(run(prompts))
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - before
    failed = [answer.error for answer in answers if answer.error]
    if failed:
        raise RuntimeError(f"{load.url}: {len(failed)} of {len(answers)} requests failed: {failed[0]}")
    return summarize(answers, load.goals, test=test, clients=clients, rate=rate, wall=wall, cpu=cpu)


def _run(clients: Coroutine[Any, Any, list[Answer]]) -> list[Answer]:
    """Runs the clients on the loop that takes the least time from the server beside it."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.run(clients)
    return uvloop.run(clients)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
