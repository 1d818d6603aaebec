"""Bad calls beside a good one: the rows of `test_bad_arguments.py` from several threads, or tasks of one event loop,
while another asks the same model for the same greedy answer again and again, and gets the same bits each time."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rustllm import LLM, AsyncLLM, Completion
from tests.support.attack import LONG
from tests.torture.conftest import Report
from tests.torture.test_bad_arguments import CALLS, GOOD, REFUSED, Call

#: For how long the rows are called, all of them at least once, and by how many at once.
SECONDS = 60 if LONG else 4
N_ATTACKERS = 3

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(n_parallel=4) as model:
        yield model


def bits(results: list[Completion]) -> str:
    """What must be the same each time."""
    [out] = results
    return repr((out.text, out.token_ids, out.logprobs))


class Rows:
    """The rows, round after round until the time is up. What they raise is judged here."""

    def __init__(self) -> None:
        self.left = self._rounds(time.monotonic() + SECONDS)
        self.tried = 0

    def _rounds(self, until: float) -> Iterator[Call]:
        while self.tried < len(CALLS) or time.monotonic() < until:
            yield from CALLS

    def judge(self, call: Call, error: Exception | None) -> None:
        """Holds what a call raised against what it may raise."""
        self.tried += 1
        if error is None:
            assert call.bounded, f"it was served: {call.id}"
        else:
            assert isinstance(error, REFUSED), (call.id, error)
            assert call.says in str(error) or call.says == getattr(error, "param", None), (call.id, error)


class GoodCalls:
    """What the good calls got, and how long each took."""

    def __init__(self, want: str) -> None:
        self.want = want
        self.seconds: list[float] = []

    def take(self, got: str, began: float) -> None:
        """Compares one answer."""
        assert got == self.want, "a good call was answered otherwise than before"
        self.seconds.append(time.monotonic() - began)

    def tell(self, report: Report, rows: Rows, kind: str) -> None:
        """Says what was measured."""
        assert rows.tried >= len(CALLS)
        assert len(self.seconds) >= 5 * SECONDS, "there was hardly a good call meanwhile"
        report.add(f"bad calls beside a good one, {kind}", rows.tried)
        seconds = sorted(self.seconds)
        middle, most = 1e3 * seconds[len(seconds) // 2], 1e3 * seconds[-1]
        report.note(
            f"beside {rows.tried} bad calls through {kind}: {len(seconds)} good ones, "
            f"{middle:.0f} ms in the middle, {most:.0f} ms at most"
        )


def raised(call: Callable[[], Any]) -> Exception | None:
    """What a call raises."""
    try:
        call()
    except Exception as error:
        return error
    return None


@pytest.mark.timeout(900)
def test_threads(llm: LLM, report: Report) -> None:
    good = GoodCalls(bits(llm.generate(PROMPT, GOOD)))
    rows, lock, ends = Rows(), threading.Lock(), threading.Event()

    def attack() -> None:
        while True:
            with lock:
                call = next(rows.left, None)
            if call is None:
                return
            error = raised(lambda call=call: call.call(llm))
            with lock:
                rows.judge(call, error)

    def watch() -> None:
        while not ends.is_set():
            began = time.monotonic()
            good.take(bits(llm.generate(PROMPT, GOOD, use_tqdm=False)), began)

    with ThreadPoolExecutor(N_ATTACKERS + 1) as pool:
        watching = pool.submit(watch)
        try:
            for attacker in [pool.submit(attack) for _ in range(N_ATTACKERS)]:
                attacker.result()
        finally:
            ends.set()
        watching.result()
    assert llm._loaded.dispatcher.active == 0
    good.tell(report, rows, "LLM")


@pytest.mark.timeout(900)
def test_tasks_of_one_loop(llm: LLM, report: Report) -> None:
    shared = AsyncLLM(llm)
    good = GoodCalls(bits(llm.generate(PROMPT, GOOD)))
    rows = Rows()

    async def attack() -> None:
        for call in rows.left:
            try:
                result = call.call(shared)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                rows.judge(call, error)
            else:
                rows.judge(call, None)

    async def watch(ends: asyncio.Event) -> None:
        while not ends.is_set():
            began = time.monotonic()
            good.take(bits(await shared.generate(PROMPT, GOOD)), began)

    async def both() -> None:
        ends = asyncio.Event()
        watching = asyncio.create_task(watch(ends))
        try:
            await asyncio.gather(*(attack() for _ in range(N_ATTACKERS)))
        finally:
            ends.set()
            await watching

    asyncio.run(both())
    assert llm._loaded.dispatcher.active == 0
    good.tell(report, rows, "AsyncLLM")
