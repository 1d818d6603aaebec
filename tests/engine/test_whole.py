"""Answers that are wanted whole: one output a choice, of the same tokens as one by one."""

from __future__ import annotations

import select
import time

import pytest

from rustllm._rustllm import Engine, Output, SamplingParams
from rustllm.choice import Choice
from rustllm.config import EMBEDDED_MODEL


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(EMBEDDED_MODEL, n_ctx=4096, n_parallel=4)


def outputs(engine: Engine, params: SamplingParams, n: int, *, whole: bool) -> list[Output]:
    """What comes of a request of `n` choices until all have ended."""
    prompt = engine.tokenizer.encode("Once upon a time")
    request = engine.submit(prompt, params, whole=whole)
    found: list[Output] = []
    while sum(output.is_last for output in found) < n:
        assert select.select([engine.fileno()], [], [], 20)[0]
        found += engine.drain()
    assert {output.request_id for output in found} == {request}
    return found


def choices(found: list[Output], n: int) -> list[tuple[object, ...]]:
    collected = [Choice(index) for index in range(n)]
    for output in found:
        collected[output.index].take(output)
    read = []
    for one in collected:
        assert one.finish is not None
        assert one.timings is not None
        probs = [(own.token, own.value, [(p.token, p.value) for p in top]) for own, top in one.probs]
        end = one.finish
        read.append((one.text, one.tokens, probs, end.stop_type, end.stopping_word, one.timings.predicted_n))
    return read


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 3, "n_predict": 40, "seed": 7, "temperature": 1.0},
        {"n_predict": 40, "n_probs": 2, "temperature": 0.0},
        {"n_predict": 200, "stop": ["Tim", "mom"], "seed": 3},
        {"n_predict": 0},
        {"n_predict": 9, "prompt_logprobs": 1, "seed": 1},
    ],
    ids=["choices", "probabilities", "stop strings", "no tokens", "a scored prompt"],
)
def test_the_whole_is_its_parts(engine: Engine, fields: dict[str, object]) -> None:
    n = int(str(fields.get("n", 1)))
    parts = outputs(engine, SamplingParams(**fields), n, whole=False)
    whole = outputs(engine, SamplingParams(**fields), n, whole=True)
    assert choices(whole, n) == choices(parts, n)
    kinds = [output.kind for output in whole if output.kind != "prompt"]
    assert sorted(kinds) == sorted((["token"] if fields["n_predict"] else []) * n + ["done"] * n)


def test_nobody_is_woken_before_the_end(engine: Engine) -> None:
    request = engine.submit([1, 5, 9], SamplingParams(n_predict=900, ignore_eos=True), whole=True)
    until = time.monotonic() + 20
    while not any(slot["n_decoded"] > 100 for slot in engine.slots() if slot["is_processing"]):
        assert time.monotonic() < until
        assert engine.drain() == [] or not engine.slots()[0]["is_processing"]
    engine.abort(request)
    while any(slot["is_processing"] for slot in engine.slots()):
        assert time.monotonic() < until
    # What was held goes with its request.
    assert engine.drain() == []


def test_an_error_comes_alone() -> None:
    other = Engine.load(EMBEDDED_MODEL, n_ctx=1024)
    other.submit([1, 5, 9], SamplingParams(n_predict=900, ignore_eos=True), whole=True)
    while not other.slots()[0]["is_processing"]:
        time.sleep(0.001)
    other.shutdown()
    assert [output.kind for output in other.drain()] == ["error"]
