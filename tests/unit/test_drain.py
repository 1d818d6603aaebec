"""How many outputs the event loop takes before it looks at its connections again."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from rustllm.engine import DRAIN_SECONDS, DRAINED, AsyncEngine


class ManyOutputs:
    """An engine that always has outputs, and remembers how many were taken at once."""

    n_slots = 1

    def __init__(self) -> None:
        self.taken: list[int] = []

    def drain(self, most: int) -> list[Any]:
        self.taken.append(most)
        return [SimpleNamespace(request_id=1)] * most


def taken(seconds: list[float]) -> list[int]:
    """How many outputs are taken, drain after drain, where each of a drain takes so long."""
    native = ManyOutputs()
    engine = AsyncEngine(native)  # type: ignore[arg-type]
    for each in seconds:
        engine._running[1] = SimpleNamespace(take=lambda _, each=each: time.sleep(each))  # type: ignore[assignment]
        engine._drain()
    return native.taken


def test_slow_outputs_are_taken_in_small_numbers() -> None:
    first, second, *_ = taken([0.002, 0.002])
    assert first == DRAINED
    assert 1 <= second <= DRAIN_SECONDS / 0.002


def test_outputs_slower_than_the_time_are_taken_one_by_one() -> None:
    assert taken([0.01, 0.01, 0.01])[1:] == [1, 1]


def test_fast_outputs_are_taken_together_again() -> None:
    assert taken([0.002, 0, 0])[2] > 1
