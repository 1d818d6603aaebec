"""The native engine without an event loop: a thread of its own hands each output to its request's listener.

`engine.AsyncEngine` does the same on an asyncio loop, where a server wants no second thread.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence

from rustllm._rustllm import Engine, EngineClosedError, Grammar, Output, SamplingParams, Watch

#: Takes one output in, on the dispatcher's thread. It must neither block nor raise.
Listener = Callable[[Output], None]


class ForkedError(RuntimeError):
    """A model was used in a forked child of the process that had loaded it."""


class Dispatcher:
    """Submits requests of any thread and hands their outputs on until it is closed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: For each request its listener and how many of its choices have not ended.
        self._running: dict[int, tuple[Listener, int]] = {}
        # Dropping a stream aborts it, which the garbage collector may do while this thread holds the lock.
        self._lock = threading.RLock()
        self._closed = False
        self._pid = os.getpid()
        self._end_reader, self._end_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="rustllm-dispatch", daemon=True)
        self._thread.start()
        _dispatchers.add(self)

    def check(self) -> None:
        """Raises ForkedError or EngineClosedError where no request can be made."""
        if os.getpid() != self._pid:
            raise ForkedError(
                f"this model was loaded in process {self._pid}, whose threads a forked child does not have; "
                "load it in the child, or use multiprocessing's 'spawn'"
            )
        if self._closed:
            raise EngineClosedError("the model is closed")

    def generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        choices: int,
        to: Listener,
        *,
        grammar: Grammar | None = None,
        watch: Watch | None = None,
        whole: bool = False,
    ) -> int:
        """Submits a prompt, returns the request's number. `whole`, and what it raises, are as for `Engine.submit`."""
        self.check()
        # Outputs are looked up under the same lock, so none can be missed before the listener is there.
        with self._lock:
            request = self.engine.submit(prompt, params, grammar, watch, whole=whole)
            self._running[request] = (to, choices)
        return request

    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        normalize: int,
        dimensions: int | None,
        lora: Sequence[tuple[int, float]],
        to: Listener,
    ) -> int:
        """As `generate`, for texts to embed. Raises what `Engine.embed` raises."""
        self.check()
        with self._lock:
            request = self.engine.embed(inputs, normalize=normalize, dimensions=dimensions, lora=lora)
            self._running[request] = (to, len(inputs))
        return request

    def abort(self, requests: Iterable[int]) -> None:
        """Frees what has not ended of these requests; nothing in a forked child."""
        if os.getpid() != self._pid:
            return
        for request in requests:
            with self._lock:
                running = self._running.pop(request, None)
            if running is not None:
                self.engine.abort(request)

    @property
    def active(self) -> int:
        """Requests that have not ended."""
        return len(self._running)

    def close(self) -> None:
        """Ends the engine, whose running requests end with an error, and the thread. Idempotent; nothing
        in a forked child."""
        with self._lock:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
        self.engine.shutdown()
        os.write(self._end_writer, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()
            os.close(self._end_reader)
            os.close(self._end_writer)

    def leak(self) -> None:
        """Keeps the engine from being dropped in a forked child, where waiting for its threads has no end."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.engine))

    def _run(self) -> None:
        source, end = self.engine.fileno(), self._end_reader
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(end, select.POLLIN)
        ending = False
        while not ending:
            ending = any(ready == end for ready, _ in poll.poll())
            outputs = self.engine.drain()
            for output in outputs:
                self._take(output)

    def _take(self, output: Output) -> None:
        request = output.request_id
        with self._lock:
            listener, left = self._running.get(request, (None, 0))
            if listener is None:
                return
            if output.is_last:
                if left > 1:
                    self._running[request] = (listener, left - 1)
                else:
                    del self._running[request]
        listener(output)


_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def _after_fork() -> None:
    for dispatcher in _dispatchers:
        dispatcher.leak()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
