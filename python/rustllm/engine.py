"""The native engine on an asyncio event loop: one queue per request, one wake-up per drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rustllm._rustllm import Engine, Grammar, Output, SamplingParams


@dataclass
class Running:
    """A request that has not ended."""

    params: SamplingParams | None = None
    has_new_line: bool = False
    queue: asyncio.Queue[Output] = field(default_factory=asyncio.Queue)


class AsyncEngine:
    """Hands the outputs of an `Engine` to the coroutines that wait for them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._running: dict[int, Running] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Watches the engine from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.engine.fileno(), self._drain)

    def stop(self) -> None:
        """Stops watching. Requests that still run are left to the engine's shutdown."""
        if self._loop is not None:
            self._loop.remove_reader(self.engine.fileno())
            self._loop = None

    @property
    def active(self) -> int:
        """Requests whose outputs are still awaited."""
        return len(self._running)

    def running(self, request_id: int) -> Running | None:
        """What is known of a request that has not ended."""
        return self._running.get(request_id)

    @asynccontextmanager
    async def generate(
        self, prompt: Sequence[int], params: SamplingParams, grammar: Grammar | None, choices: int
    ) -> AsyncIterator[AsyncIterator[Output]]:
        """Submits a request and yields the iterator over the outputs of all its choices.

        Leaving the context early aborts the request. Raises what `Engine.submit` raises.
        """
        # Outputs are dispatched by this loop only, so none can be missed before the queue is there.
        request_id = self.engine.submit(prompt, params, grammar)
        async with self._outputs(request_id, Running(params), choices) as stream:
            yield stream

    @asynccontextmanager
    async def embed(
        self, inputs: Sequence[Sequence[int]], *, normalize: int = 2, dimensions: int | None = None
    ) -> AsyncIterator[AsyncIterator[Output]]:
        """As `generate`, for texts to embed; each is a choice. Raises what `Engine.embed` raises."""
        request_id = self.engine.embed(inputs, normalize=normalize, dimensions=dimensions)
        async with self._outputs(request_id, Running(), len(inputs)) as stream:
            yield stream

    @asynccontextmanager
    async def _outputs(self, request_id: int, running: Running, choices: int) -> AsyncIterator[AsyncIterator[Output]]:
        self._running[request_id] = running
        state = _Progress(choices)
        try:
            yield _outputs(running.queue, state)
        finally:
            del self._running[request_id]
            if state.running > 0:
                self.engine.abort(request_id)

    def _drain(self) -> None:
        for output in self.engine.drain():
            running = self._running.get(output.request_id)
            if running is not None:
                running.has_new_line = running.has_new_line or "\n" in output.text
                running.queue.put_nowait(output)


class _Progress:
    """How many choices of a request have not ended."""

    def __init__(self, running: int) -> None:
        self.running = running


async def _outputs(queue: asyncio.Queue[Output], state: _Progress) -> AsyncIterator[Output]:
    while state.running > 0:
        output = await queue.get()
        if output.kind in ("done", "embedding", "error"):
            state.running -= 1
        yield output
