"""When there will be room again, for those who are refused because too many wait.

`Pace` measures how long it takes until a place becomes free. `Returns` gives those places out: of several clients that
are refused, each is told another time, so that there is a place for each when all of them come back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

#: Requests whose ends tell the pace.
_ENDS = 32

#: By how much longer it is reckoned to take than it took so far: answers differ, and who comes a little late finds a
#: place, who comes early does not.
MARGIN = 1.25

#: How often every place is given out ahead.
_ROUNDS = 4

#: The longest wait in seconds that anybody is told. Client libraries, OpenAI's among them, take a longer one for a
#: mistake and come back after a time of their own.
MAX_SECONDS = 60.0


class Pace:
    """How long it takes until a request ends while all slots are busy, by the requests that ended last.

    What is measured is the time of slots that a request takes. So hours without requests do not count, and a server
    whose requests came one at a time so far knows that several of them will run at once.
    """

    def __init__(self, n_slots: int, clock: Callable[[], float] = monotonic) -> None:
        self._n_slots = n_slots
        self._clock = clock
        self._at = clock()
        #: Sequences that run or wait.
        self._n_sequences = 0
        #: Seconds of all slots since the latest end.
        self._since = 0.0
        #: The same between the latest ends.
        self._between: deque[float] = deque(maxlen=_ENDS)

    def begin(self, n_sequences: int) -> None:
        """A request of so many sequences has come in."""
        self._count()
        self._n_sequences += n_sequences

    def end(self, n_sequences: int) -> None:
        """It is over."""
        self._count()
        self._n_sequences -= n_sequences
        self._between.append(self._since)
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """From one end to the next, at least as long as the latest one is ago."""
        self._count()
        between = self._between
        mean = sum(between) / len(between) if between else 1.0
        return max(MARGIN * mean, self._since)

    def _count(self) -> None:
        now = self._clock()
        self._since += min(self._n_sequences, self._n_slots) / self._n_slots * (now - self._at)
        self._at = now


class Returns:
    """Who comes back when: one client after the other, as places become free."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        #: When the place becomes free that was given out last.
        self._last = 0.0

    def next(self, pace: float, n_places: int) -> float:
        """Gives the next place to a client: the seconds in which it is free, where one becomes free every `pace` and
        there are `n_places`. No more than several rounds of them are given out: some clients do not listen, and what
        they were told must not put the others off."""
        now = self._clock()
        most = min(_ROUNDS * n_places * pace, MAX_SECONDS)
        self._last = min(max(self._last, now) + pace, now + max(most, pace))
        return self._last - now
