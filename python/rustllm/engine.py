"""The native engine on an asyncio event loop: one wake-up a step, which calls each request's listener.

A listener is called on the loop's thread, in the drain itself: what a token costs is then its own
work, not a queue, a future and a change of tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from rustllm._rustllm import Engine, Grammar, Output, QueueFullError, SamplingParams, Watch
from rustllm.pace import Pace, Returns

#: Takes one output in. It must not block; what it raises ends the request.
Listener = Callable[[Output], None]


class GenerationError(RuntimeError):
    """The engine gave a request up."""


class BusyError(QueueFullError):
    """Too many requests are waiting; in `retry_after` seconds a place can be expected for who was refused."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLongError(GenerationError):
    """A request has taken more time than is allowed."""


@dataclass(frozen=True)
class Name:
    """What a client calls its request while that runs."""

    id: str
    #: Whether the client may end its thoughts.
    controls: bool


class Running:
    """A request that has not ended."""

    def __init__(
        self, params: SamplingParams | None, choices: int, listener: Listener, name: Name | None = None
    ) -> None:
        self.params = params
        self.name = name
        #: Done once the last choice has ended; else it has the engine's error, or a listener's.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.choices = choices
        self._n_open = choices
        self._listener = listener

    def fail(self, error: Exception) -> None:
        """Ends a request that has not ended."""
        if not self.ended.done():
            self.ended.set_exception(error)

    def take(self, output: Output) -> None:
        """Hands an output to the listener."""
        if self.ended.done():
            return
        is_last = output.is_last
        try:
            if is_last and output.kind == "error":
                raise GenerationError(output.error or "the engine failed")
            self._listener(output)
        except Exception as error:
            self.ended.set_exception(error)
            return
        if is_last:
            self._n_open -= 1
            if self._n_open == 0:
                self.ended.set_result(None)


#: Outputs that are handled at most before the loop looks at its connections again.
DRAINED = 64

#: Seconds that they may take together, as far as can be told from those before. Some with hundreds of probabilities
#: take a millisecond each, and a request needs several looks at its connection.
DRAIN_SECONDS = 0.005


class AsyncEngine:
    """Hands the outputs of an `Engine` to the listeners of its requests."""

    def __init__(self, engine: Engine, max_seconds: float = 0, lost: Callable[[], None] | None = None) -> None:
        """`max_seconds` is what a request may take, its time in the queue included; 0 sets no limit. `lost` is
        called once the engine's thread has ended while it was watched; what ran gets its errors afterwards."""
        self.engine = engine
        self.max_seconds = max_seconds
        self._lost = lost
        self._running: dict[int, Running] = {}
        #: Requests by the names that clients know.
        self._named: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._at_once = DRAINED
        self.pace = Pace(engine.n_slots)
        self._returns = Returns()

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

    def named(self, name: str) -> tuple[int, Running] | None:
        """The request that a client knows by this name, unless it has ended."""
        request_id = self._named.get(name)
        return None if request_id is None else (request_id, self._running[request_id])

    @contextmanager
    def generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        grammar: Grammar | None,
        choices: int,
        listener: Listener,
        watch: Watch | None = None,
        *,
        name: Name | None = None,
        whole: bool = False,
    ) -> Iterator[Running]:
        """Submits a request, whose outputs go to `listener` until the context is left.

        Leaving it before the request has ended aborts it. `whole`, and what it raises, are as for `Engine.submit`.
        """
        # Outputs are dispatched by this loop only, so none can be missed before the listener is there.
        try:
            request_id = self.engine.submit(prompt, params, grammar, watch, whole=whole)
        except QueueFullError as error:
            raise self._busy(error) from None
        with self._listening(request_id, Running(params, choices, listener, name)) as running:
            yield running

    @contextmanager
    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        listener: Listener,
        *,
        normalize: int = 2,
        dimensions: int | None = None,
        lora: Sequence[tuple[int, float]] = (),
    ) -> Iterator[Running]:
        """As `generate`, for texts to embed; each is a choice. Raises what `Engine.embed` raises."""
        try:
            request_id = self.engine.embed(inputs, normalize=normalize, dimensions=dimensions, lora=lora)
        except QueueFullError as error:
            raise self._busy(error) from None
        with self._listening(request_id, Running(None, len(inputs), listener)) as running:
            yield running

    def _busy(self, error: QueueFullError) -> BusyError:
        """The error of a request for which there is no place, with when there will be one."""
        return BusyError(str(error), self._returns.next(self.pace.seconds, len(self._running)))

    @contextmanager
    def _listening(self, request_id: int, running: Running) -> Iterator[Running]:
        self._running[request_id] = running
        if running.name is not None:
            self._named[running.name.id] = request_id
        self.pace.begin(running.choices)
        expiry = None
        if self.max_seconds > 0:
            loop = asyncio.get_running_loop()
            error = TooLongError(f"the answer took too long; allowed: up to {self.max_seconds:g} seconds")
            expiry = loop.call_later(self.max_seconds, running.fail, error)
        try:
            yield running
        finally:
            if expiry is not None:
                expiry.cancel()
            self.pace.end(running.choices)
            del self._running[request_id]
            if running.name is not None:
                del self._named[running.name.id]
            if not running.ended.done() or running.ended.cancelled() or running.ended.exception() is not None:
                self.engine.abort(request_id)

    def _drain(self) -> None:
        find = self._running.get
        began = monotonic()
        outputs = self.engine.drain(self._at_once)
        for output in outputs:
            running = find(output.request_id)
            if running is not None:
                running.take(output)
        if outputs:
            # The next ones cost about as much as these.
            each = (monotonic() - began) / len(outputs)
            self._at_once = max(1, min(DRAINED, int(DRAIN_SECONDS / max(each, 1e-9))))
        if self._lost is not None and not self.engine.is_alive():
            lost, self._lost = self._lost, None
            lost()
