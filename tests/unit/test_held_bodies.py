"""The room that the bodies of all requests have together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from rustllm.limits import Limits
from rustllm.server.errors import ApiError
from rustllm.server.held_bodies import FREE_BYTES, PATIENCE_SECONDS, HeldBodies, Hold, HoldBodies, hold_of

MIB = 1 << 20


def bodies(most: int = MIB, pace: float = 1.0) -> HeldBodies:
    return HeldBodies(Limits({"all_bodies_bytes": most}), lambda: pace)


def test_what_is_free_does_not_count() -> None:
    held = bodies()
    for _ in range(100):
        hold = Hold(held)
        hold.take(FREE_BYTES - 1)
        hold.take(1)
    assert held.n_bytes == 0
    hold.take(1)
    assert held.n_bytes == 1


def test_what_is_too_much_is_refused_and_names_the_flag() -> None:
    held = bodies()
    first, second = Hold(held), Hold(held)
    first.take(FREE_BYTES + MIB - 10)
    with pytest.raises(ApiError, match=rf"allowed: up to {MIB} bytes \(--max-all-bodies-bytes\)$") as refused:
        second.take(FREE_BYTES + 11)
    assert refused.value.status == 503
    second.take(FREE_BYTES + 10)
    assert held.n_bytes == MIB
    second.let_go()
    first.let_go()
    assert held.n_bytes == 0


@pytest.mark.parametrize(("pace", "seconds"), [(0.01, "1"), (2.5, "3"), (1000.0, "60")])
def test_when_it_may_be_tried_again(pace: float, seconds: str) -> None:
    with pytest.raises(ApiError) as refused:
        Hold(bodies(pace=pace)).take(FREE_BYTES + MIB + 1)
    assert refused.value.response().headers["retry-after"] == seconds


def test_of_many_that_grow_together_the_last_few_have_all_the_room() -> None:
    held = bodies()
    holds = [Hold(held) for _ in range(24)]
    for _ in range(8):
        for hold in list(holds):
            try:
                hold.take((FREE_BYTES + MIB // 4) // 8)
            except ApiError:
                holds.remove(hold)
    assert len(holds) == 4
    assert held.n_bytes == MIB


def test_who_is_slow_makes_room() -> None:
    now = 0.0
    held = HeldBodies(Limits({"all_bodies_bytes": MIB}), lambda: 1.0, lambda: now)

    async def run() -> list[Hold]:
        nonlocal now
        readers = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(3)]
        slow, slower, fast = holds = [Hold(held) for _ in range(3)]
        with ExitStack() as stack:
            for hold, reader in zip(holds, readers, strict=True):
                stack.enter_context(hold.read_by(reader))  # type: ignore[arg-type]
            slow.take(FREE_BYTES + 300_000)
            slower.take(FREE_BYTES + 200_000)
            late = Hold(held)
            # All of them may be in a hurry yet.
            now = PATIENCE_SECONDS
            with pytest.raises(ApiError):
                late.take(FREE_BYTES + MIB - 200_000)
            now = PATIENCE_SECONDS + 1
            fast.take(FREE_BYTES + 500_000)
            late.take(FREE_BYTES + 200_000)
            assert [hold.is_dropped for hold in holds] == [False, True, False]
            with pytest.raises(ApiError):
                Hold(held).take(FREE_BYTES + MIB - 500_000 - 200_000 + 1)
            assert held.n_bytes == 500_000 + 200_000
            await asyncio.sleep(0)
            assert [reader.cancelled() for reader in readers] == [True, True, False]
            readers[2].cancel()
        return holds

    for hold in asyncio.run(run()):
        hold.let_go()
    assert held.n_bytes == 200_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, MIB)), max_size=40))
def test_the_count_is_that_of_what_is_held(parts: list[tuple[int, int]]) -> None:
    held = bodies()
    holds = [Hold(held) for _ in range(5)]
    sizes = [0] * 5
    for who, n in parts:
        grown = [size + n * (index == who) for index, size in enumerate(sizes)]
        try:
            holds[who].take(n)
        except ApiError:
            assert sum(max(0, size - FREE_BYTES) for size in grown) > MIB
            sizes[who] = 0
        else:
            sizes = grown
        assert held.n_bytes == sum(max(0, size - FREE_BYTES) for size in sizes) <= MIB
    for hold in holds:
        hold.let_go()
    assert held.n_bytes == 0


def test_the_last_user_gives_back() -> None:
    held = bodies()
    hold = Hold(held)
    hold.take(MIB)
    hold.share()
    hold.let_go()
    assert held.n_bytes == MIB - FREE_BYTES
    hold.let_go()
    assert held.n_bytes == 0


async def fails() -> None:
    raise ValueError("a broken route")


async def waits() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("work", "error"), [(fails, ValueError), (waits, asyncio.CancelledError)])
def test_a_request_gives_back_however_it_ends(work: Callable[[], object], error: type[BaseException]) -> None:
    held = bodies()
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hold = hold_of(scope)
        assert hold is not None
        hold.take(MIB)
        seen.append(held.n_bytes)
        await work()  # type: ignore[misc]

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def run() -> None:
        task = asyncio.ensure_future(HoldBodies(app, held)({"type": "http"}, receive, send))
        await asyncio.sleep(0)
        assert seen == [MIB - FREE_BYTES]
        task.cancel()
        await task

    with pytest.raises(error):
        asyncio.run(run())
    assert held.n_bytes == 0
