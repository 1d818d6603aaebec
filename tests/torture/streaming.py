"""What stateful tests of servers have in common: streams that are open, which their clients read, finish or leave."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.asked import Answers, Asked
from tests.support.attack import LONG
from tests.support.server import Server

EXAMPLES, STEPS = (100, 40) if LONG else (12, 25)
BUDGET = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)

TEXTS = ("Once upon a time", "The little dog", "Lily and Ben went to the park and saw a big red ball")
LENGTHS = (5, 40, 400)
#: Streams at once; those without a slot wait.
N_OPEN = 6
STREAMS = st.integers(0, N_OPEN - 1)


class Streaming(RuleBasedStateMachine):
    """A server and the streams that its clients have open."""

    server: Server
    answers: Answers

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Asked] = []

    def waits(self, slot: int | None) -> bool:
        """Whether what has asked for this slot cannot go on yet."""
        return False

    @rule(stream=STREAMS, n=st.integers(1, 5))
    @precondition(lambda self: self.open)
    def read(self, stream: int, n: int) -> None:
        asked = self.chosen(stream)
        if not self.waits(asked.slot):
            asked.stream.read(n)

    @rule(stream=STREAMS)
    @precondition(lambda self: self.open)
    def finish(self, stream: int) -> None:
        asked = self.chosen(stream)
        if not self.waits(asked.slot):
            self.open.remove(asked)
            asked.finish(self.answers)

    @rule(stream=STREAMS)
    @precondition(lambda self: self.open)
    def cancel(self, stream: int) -> None:
        asked = self.chosen(stream)
        self.open.remove(asked)
        asked.stream.close()

    def chosen(self, number: int) -> Asked:
        return self.open[number % len(self.open)]
