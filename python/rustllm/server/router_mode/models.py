"""Which models are loaded: each on first use, up to `--models-max` of them, the least recently used making room.

All of it happens on the event loop's thread; between two awaits nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from time import monotonic, time
from typing import Any

import httpx

from rustllm.config import ServerSettings, UsageError
from rustllm.server.errors import ApiError
from rustllm.server.router_mode.catalog import Catalog, Entry
from rustllm.server.router_mode.events import Events
from rustllm.server.router_mode.run import Run

log = logging.getLogger("rustllm.router")

#: Names that an error lists at most.
_SHOWN_NAMES = 20


class Served:
    """A model by its name."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.run: Run | None = None
        self.last_use = 0.0
        self.created = int(time())
        #: Of the last run, where it has failed.
        self.exit_code: int | None = None
        self.reason: str | None = None

    @property
    def status(self) -> str:
        """`unloaded`, `loading`, `loaded` or `sleeping`."""
        if self.run is None:
            return "unloaded"
        if not self.run.started.done():
            return "loading"
        return "sleeping" if self.run.sleeping else "loaded"


class Changes:
    """Wakes who waits for something to change; they look for themselves what it was."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def next(self) -> None:
        """Waits for the next change."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Models:
    """All models, and the runs of those that are loaded."""

    def __init__(self, settings: ServerSettings, catalog: Catalog, environ: dict[str, str], directory: Path) -> None:
        """`environ` is the environment of the processes, `directory` a place for their sockets."""
        self.settings = settings
        self.events = Events()
        self._catalog = catalog
        self._environ = environ
        self._served = {name: Served(entry) for name, entry in catalog.read().items()}
        at_once = sum(served.entry.load_on_startup for served in self._served.values())
        if at_once > settings.models_max > 0:
            limit = f"--models-max allows {settings.models_max}"
            raise UsageError(f"--models-preset: load-on-startup of {at_once} models, but {limit}")
        self._changes = Changes()
        self._placing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._count = 0
        self._directory = directory

    def __iter__(self) -> Iterator[Served]:
        return iter([self._served[name] for name in sorted(self._served)])

    def get(self, name: str) -> Served | None:
        """The model of a name or of another name for it."""
        if name in self._served:
            return self._served[name]
        return next((served for served in self._served.values() if name in served.entry.aliases), None)

    def names(self) -> str:
        """The names that there are, for messages."""
        names = sorted(self._served)
        more = len(names) - _SHOWN_NAMES
        return (", ".join(names[:_SHOWN_NAMES]) or "none") + (f" and {more} more" if more > 0 else "")

    # Runs

    async def acquire(self, served: Served, autoload: bool = True, used: bool = True) -> Run:
        """A run of the model that is loaded, to be released when the request has ended. Raises ApiError 400
        where it is not loaded and must not be, 500 where it cannot be, 503 while the server ends."""
        while True:
            if self._closed:
                raise ApiError(503, "the server is shutting down")
            run = served.run
            if run is not None and run.retiring:
                await self._changes.next()
                continue
            if run is None:
                if not autoload:
                    raise ApiError(400, f"model {served.entry.name!r} is not loaded", param="model")
                run = self.load(served)
            if used:
                served.last_use = monotonic()
            run.users += 1
            try:
                # The future is shared: a client that leaves does not end the loading for the others.
                await asyncio.shield(run.started)
                if run.failure is not None:
                    raise ApiError(500, f"model {served.entry.name!r} failed to load: {run.failure}")
            except BaseException:
                self.release(run)
                raise
            return run

    def release(self, run: Run) -> None:
        """A request of the run has ended."""
        run.users -= 1
        self._changes.notify()

    def load(self, served: Served) -> Run:
        """Begins to load a model that has no run."""
        self._count += 1
        run = served.run = Run(served.entry, f"{self._directory}/{self._count}.sock")
        served.last_use = monotonic()
        served.exit_code = served.reason = None
        self._tell(served)
        self._spawn(self._live(served, run))
        return run

    async def unload(self, served: Served) -> None:
        """Ends the run of a model, which finishes its requests within its time limit."""
        run = served.run
        if run is not None:
            await run.end()
            self._changes.notify()
            await run.ended.wait()

    def unload_soon(self, served: Served) -> None:
        """The same, without waiting for it."""
        self._spawn(self.unload(served))

    async def _live(self, served: Served, run: Run) -> None:
        code: int | None = None
        try:
            async with self._placing:
                await self._make_room(run)
                if not run.retiring:
                    run.placed = True
                    await run.start(self._environ)
            if run.process is not None:
                async for report in run.process.reports():
                    await self._take(served, run, report)
                code = await run.process.wait()
        except (OSError, httpx.HTTPError, KeyError) as error:
            run.failure = f"{type(error).__name__}: {error}"
        finally:
            await self._over(served, run, code)

    async def _make_room(self, run: Run) -> None:
        limit = self.settings.models_max
        while limit and not run.retiring:
            placed = [other for other in self if other.run is not None and other.run.placed]
            if len(placed) < limit:
                return
            # One at a time: whoever is leaving makes room.
            if not any(other.run.retiring for other in placed if other.run is not None):
                victim = min(placed, key=lambda other: (other.run is not None and other.run.users > 0, other.last_use))
                log.info("a model makes room", extra={"fields": {"model": victim.entry.name}})
                self._spawn(self._retire(victim))
            await self._changes.next()

    async def _retire(self, served: Served) -> None:
        """Ends a run once it has answered what it was asked; further requests wait and load the model anew."""
        run = served.run
        if run is None:
            return
        run.retiring = True
        while run.users and not run.ended.is_set():
            await self._changes.next()
        await run.end()

    async def _take(self, served: Served, run: Run, report: dict[str, Any]) -> None:
        state = report["state"]
        if state == "failed":
            run.failure = str(report.get("message"))
            return
        if state == "loading":
            if run.started.done():
                return  # It wakes; until it has, it sleeps.
            run.progress = report["progress"]
        elif state == "ready" and not run.started.done():
            await run.describe()
            run.started.set_result(None)
            log.info("a model is loaded", extra={"fields": {"model": served.entry.name}})
        run.sleeping = state == "sleeping"
        self._tell(served)
        self._changes.notify()

    async def _over(self, served: Served, run: Run, code: int | None) -> None:
        if run.process is not None and not run.process.ended:
            run.process.kill()
            code = await run.process.wait()
        if not run.started.done():
            if run.retiring:
                run.failure = "it was unloaded"
            elif run.failure is None:
                run.failure = f"its process ended with status {code}; the log says why"
            run.started.set_result(None)
        if not run.retiring:
            served.exit_code = 1 if code is None else code
            served.reason = run.failure or f"its process ended with status {code}"
            log.error("a model failed", extra={"fields": {"model": served.entry.name, "reason": served.reason}})
        served.run = None
        run.ended.set()
        self._tell(served)
        self._changes.notify()
        await run.close()

    def _tell(self, served: Served) -> None:
        data: dict[str, Any] = {"status": served.status}
        run = served.run
        if run is None:
            data["exit_code"] = served.exit_code or 0
        elif served.status == "loading" and run.progress is not None:
            data["progress"] = {"stages": ["text_model"], "current": "text_model", "value": run.progress}
        elif served.status == "loaded":
            data["info"] = run.info
        # llama-server has one name for the first event of a run and another for those that follow.
        name = "model_status" if run is not None and not run.placed else "status_change"
        self.events.send(served.entry.name, name, data)

    # The list

    async def reload(self) -> None:
        """Looks for models again. Those that are gone or have other flags are unloaded. Raises UsageError."""
        async with self._reading:
            entries = await asyncio.get_running_loop().run_in_executor(None, self._catalog.read)
            for served in self:
                await self._change(served, entries.get(served.entry.name))
            for name, entry in entries.items():
                if name not in self._served:
                    self._served[name] = Served(entry)
        self.events.send("*", "models_reload")

    async def _change(self, served: Served, entry: Entry | None) -> None:
        if entry == served.entry:
            return
        while served.run is not None:
            await self.unload(served)
        if entry is None:
            del self._served[served.entry.name]
        else:
            served.entry, served.exit_code, served.reason = entry, None, None

    async def start(self) -> None:
        """Loads what presets want to be loaded at once."""
        for served in self:
            if served.entry.load_on_startup:
                self.load(served)

    async def close(self) -> None:
        """Ends all processes."""
        self._closed = True
        self.events.close()
        await asyncio.gather(*(self.unload(served) for served in self))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
