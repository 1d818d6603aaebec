"""A rate: a bucket that fills evenly and holds a minute's worth.

All that it remembers is the moment at which it will be full, so that processes share a rate by sharing one number
(`router_mode/shared_accounts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Moment:
    """A time of the clock that is kept; at first it is long past."""

    def __init__(self) -> None:
        self._value = 0.0

    def get(self) -> float:
        """The time."""
        return self._value

    def change(self, change: Callable[[float], float]) -> None:
        """Puts what `change` makes of the time in its place."""
        self._value = change(self._value)


class Bucket:
    """A rate: so many a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = monotonic, full_at: Moment | None = None) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._full_at = Moment() if full_at is None else full_at

    @property
    def level(self) -> float:
        """What may be taken now; below zero is a debt."""
        return self.per_minute - self.reset * self.per_minute / 60

    def take(self, n: int) -> None:
        """Takes `n` out, or puts some back if it is below zero."""
        now, seconds = self._clock(), n * 60 / self.per_minute
        self._full_at.change(lambda full_at: max(full_at, now) + seconds)

    def wait(self, n: float = 1) -> float:
        """Seconds until there are `n`."""
        return max(0.0, n - self.level) * 60 / self.per_minute

    @property
    def reset(self) -> float:
        """Seconds until it is full."""
        return max(0.0, self._full_at.get() - self._clock())
