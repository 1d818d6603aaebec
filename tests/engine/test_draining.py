"""Outputs in parts: none is lost, and the descriptor says that there are more."""

from __future__ import annotations

import select
import time

from rustllm import LLM
from rustllm._rustllm import Engine, SamplingParams
from rustllm.config import EMBEDDED_MODEL


def is_readable(engine: Engine) -> bool:
    return bool(select.select([engine.fileno()], [], [], 0)[0])


def test_parts_are_the_whole() -> None:
    engine = Engine.load(EMBEDDED_MODEL, n_ctx=256)
    engine.submit([1, 5, 9], SamplingParams(n_predict=50, ignore_eos=True))
    tokens = 0
    is_last = False
    while not is_last:
        assert select.select([engine.fileno()], [], [], 20)[0]
        outputs = engine.drain(3)
        assert len(outputs) <= 3
        tokens += sum(len(output.tokens) for output in outputs)
        is_last = any(output.is_last for output in outputs)
    assert tokens == 50
    assert not is_readable(engine)
    assert engine.drain() == []


def test_it_stays_readable_while_there_is_more() -> None:
    engine = Engine.load(EMBEDDED_MODEL, n_ctx=256)
    engine.submit([1, 5, 9], SamplingParams(n_predict=20, ignore_eos=True))
    until = time.monotonic() + 20
    while any(slot["is_processing"] for slot in engine.slots()) or not is_readable(engine):
        assert time.monotonic() < until
        time.sleep(0.01)
    while not engine.drain(1)[0].is_last:
        assert is_readable(engine)
    assert not is_readable(engine)


def test_an_engine_whose_outputs_nobody_takes_waits_for_them() -> None:
    """It goes on, but slowly: what waits stays little while somebody could still come for it."""
    engine = Engine.load(EMBEDDED_MODEL, n_ctx=256, n_parallel=8, context_shift=True)
    engine.submit([1, 5, 9], SamplingParams(n=8, ignore_eos=True))
    time.sleep(1.0)
    # Beyond the 256 that may wait, a step of eight tokens each 50 ms.
    assert 256 < len(engine.drain()) < 256 + 8 * 60
    engine.shutdown()


def test_shutting_down_does_not_wait_for_readers() -> None:
    with LLM(n_ctx=64) as llm:
        began = time.monotonic()
        llm.close()
    assert time.monotonic() - began < 2
