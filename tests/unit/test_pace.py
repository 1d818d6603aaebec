"""What those are told who are refused because too many wait."""

from __future__ import annotations

import pytest

from rustllm.pace import MARGIN, MAX_SECONDS, Pace, Returns


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def one_after_the_other(pace: Pace, clock: Clock, n: int, seconds: float, pause: float = 0.0, choices: int = 1) -> None:
    for _ in range(n):
        pace.begin(choices)
        clock.now += seconds
        pace.end(choices)
        clock.now += pause


def test_a_busy_server_s_pace_is_the_time_between_two_ends(clock: Clock) -> None:
    pace = Pace(2, clock)
    for _ in range(8):
        pace.begin(1)
    for _ in range(100):
        clock.now += 0.25
        pace.end(1)
        pace.begin(1)
    assert pace.seconds == pytest.approx(0.25 * MARGIN)


def test_time_without_requests_does_not_count(clock: Clock) -> None:
    pace = Pace(1, clock)
    one_after_the_other(pace, clock, 40, seconds=0.5, pause=600)
    assert pace.seconds == pytest.approx(0.5 * MARGIN)


def test_free_slots_are_known_to_be_there(clock: Clock) -> None:
    pace = Pace(4, clock)
    one_after_the_other(pace, clock, 40, seconds=10)
    assert pace.seconds == pytest.approx(2.5 * MARGIN)
    # A request of as many sequences as there are slots leaves none.
    pace = Pace(4, clock)
    one_after_the_other(pace, clock, 40, seconds=10, choices=6)
    assert pace.seconds == pytest.approx(10 * MARGIN)


def test_the_latest_requests_count(clock: Clock) -> None:
    pace = Pace(1, clock)
    one_after_the_other(pace, clock, 40, seconds=8)
    one_after_the_other(pace, clock, 40, seconds=0.1)
    assert pace.seconds == pytest.approx(0.1 * MARGIN)
    # They take longer than those before: so much is known before one of them has ended.
    pace.begin(1)
    clock.now += 20
    assert pace.seconds == pytest.approx(20)


def test_of_several_who_are_refused_each_finds_a_place(clock: Clock) -> None:
    returns = Returns(clock)
    told = [returns.next(0.5, 100) for _ in range(20)]
    assert told == pytest.approx([0.5 * (place + 1) for place in range(20)])
    # A place becomes free each half second, so all who are to be back by then have had one.
    clock.now += 4
    assert returns.next(0.5, 100) == pytest.approx(6.5)
    clock.now += 60
    assert returns.next(0.5, 100) == pytest.approx(0.5)


def test_nobody_is_told_to_wait_longer_than_clients_do(clock: Clock) -> None:
    returns = Returns(clock)
    assert max(returns.next(7, 100) for _ in range(1000)) == MAX_SECONDS
    # Those who did not come do not hold up others for long.
    clock.now += 59
    assert returns.next(7, 100) == pytest.approx(8)


def test_clients_who_do_not_listen_put_others_off_by_some_rounds_only(clock: Clock) -> None:
    returns = Returns(clock)
    assert max(returns.next(0.5, 2) for _ in range(1000)) == pytest.approx(0.5 * 2 * 4)
