"""The deltas of a streamed call, one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from rustllm._rustllm import Output
from rustllm.llm.dispatch import Dispatcher
from rustllm.llm.jobs import Batch
from rustllm.llm.requests import Work

D = TypeVar("D")

#: Makes the deltas of an output of the job of that number.
Read = Callable[[int, Output], Sequence[D]]


class Stream(Generic[D]):
    """An iterator of deltas. Closing it, leaving its `with` block or dropping it aborts what has not ended.

    >>> from rustllm import LLM
    >>> with LLM() as llm:
    ...     with llm.generate("Once upon a time", stream=True) as stream:
    ...         first = next(stream)
    ...     rest = list(stream)
    >>> rest
    []
    """

    def __init__(self, dispatcher: Dispatcher, work: Work, read: Read[D]) -> None:
        self._queue: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._work, self._read = work, read
        self._left = sum(job.params.n for job in work.jobs)
        self._ready: deque[D] = deque()
        queue = self._queue
        # The batch must not hold the stream, whose end as garbage aborts it.
        self._batch = Batch(dispatcher, lambda number, item: queue.put((number, item)), stream=True)
        try:
            for number, job in enumerate(work.jobs):
                self._batch.submit(number, job)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Stream[D]:
        return self

    def __next__(self) -> D:
        while not self._ready:
            if self._left <= 0:
                raise StopIteration
            number, item = self._queue.get()
            if isinstance(item, Exception):
                self.close()
                raise self._work.error(number, item)
            self._left -= item.is_last
            self._ready.extend(self._read(number, item))
        return self._ready.popleft()

    def close(self) -> None:
        """Aborts what has not ended; there are no further deltas. Idempotent."""
        self._left = 0
        self._ready.clear()
        self._batch.close()

    def __enter__(self) -> Stream[D]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        # Where the constructor failed there is no batch.
        if hasattr(self, "_batch"):
            self._batch.close()
