"""The work behind a streamed answer: it runs the jobs and writes the bytes of their events."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from rustllm._rustllm import Output
from rustllm.engine import GenerationError, Listener, Running
from rustllm.server.accounts import current
from rustllm.server.errors import ApiError, from_exception
from rustllm.server.fair_queue import turn_in
from rustllm.server.written import blocks

if TYPE_CHECKING:
    from rustllm.server.generation import Job
    from rustllm.server.state import Model

log = logging.getLogger("rustllm.server")


class Events(Protocol):
    """Makes the events of one job."""

    def take(self, output: Output) -> bytes:
        """The events of an output; empty where it has none."""

    def end(self) -> Iterable[bytes]:
        """The events after the last output, a large one in pieces."""


@asynccontextmanager
async def start_job(model: Model, job: Job, listener: Listener, *, whole: bool = False) -> AsyncIterator[Running]:
    """Submits a job when its turn has come; see `AsyncEngine.generate`. An account is charged token by token, and
    so nothing is held back from it."""
    account, choices = current.get(), job.choices
    if account is None:
        with model.engine.generate(
            job.prompt, job.params, job.grammar, choices, listener, job.watch, name=job.name, whole=whole
        ) as running:
            yield running
        return
    limit = max(0, int(job.settings["n_predict"])) * choices
    slot = int(job.settings["id_slot"])
    with account.spending(len(job.prompt), limit) as spent:

        def take(output: Output) -> None:
            spent.generated(len(output.tokens))
            listener(output)

        async with turn_in(model.turns, account, choices, slot if slot >= 0 else None):
            with model.engine.generate(
                job.prompt, job.params, job.grammar, choices, take, job.watch, name=job.name
            ) as running:
                spent.begin()
                yield running


async def _at_once() -> None:
    """Nothing is known of who reads."""


def _nowhere(data: bytes) -> None:
    """Nothing is written any more."""


class Production:
    """Runs the jobs of a stream, one after the other. Cancelling its `task` aborts the one that runs."""

    def __init__(self, model: Model, parts: Sequence[tuple[Job, Events]], write: Callable[[bytes], None]) -> None:
        self._model, self._parts = model, parts
        #: Takes the bytes of events as they come; it may be exchanged between two of them.
        self.write = write
        #: Waits until the client has room for the next piece of a large event.
        self.drain: Callable[[], Awaitable[None]] = _at_once
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            await self._run_jobs()
        except BaseException as error:
            # The task keeps the error, and with it all that the frames on its way hold. Once a client has left, its
            # request would be there until the garbage collector looks, which some large ones do not make it do.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            self._parts, self.write = (), _nowhere

    async def _run_jobs(self) -> None:
        for job, events in self._parts:
            async with start_job(self._model, job, partial(self._take, events)) as running:
                await running.ended
            async for block in blocks(events.end()):
                self.write(block)
                await self.drain()

    def _take(self, events: Events, output: Output) -> None:
        data = events.take(output)
        if data:
            self.write(data)

    def last(self, failed: Callable[[ApiError], bytes], done: bytes) -> bytes:
        """What a stream says once the task is over: `done`, or the event of the error that ended it."""
        error = None if self.task.cancelled() else self.task.exception()
        if not isinstance(error, Exception):
            return done
        if not isinstance(error, (ApiError, GenerationError)):
            log.error("a stream failed", exc_info=error)
        return failed(from_exception(error))
