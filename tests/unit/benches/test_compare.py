"""What the comparison reads, decides and writes."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import pytest
from benches.cells import GOALS, Measured, Rate, Samples, best, columns, decode, goal, merge, prefill
from benches.compare import Ours, Settings, result_name, wanted
from benches.peer import best_settings, read_batched, read_bench
from benches.random_model import Shape, vocabulary
from benches.report import Machine, document

LIMITS = {"n_threads": 2, "simd": "avx512", "read": 47e9, "int8": 2e12, "f32": 5e11}
MACHINE = Machine("AMD EPYC (TM) 9", 2, 3, LIMITS)


def bench_row(n_prompt: int, n_gen: int, flash: object, rate: float, depth: int = 0) -> dict[str, Any]:
    """The fields of a row of llama-bench that are read, and one that is not."""
    return {
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        "n_depth": depth,
        "flash_attn": flash,
        "avg_ts": rate,
        "stddev_ts": 1.0,
    }


def test_llama_bench() -> None:
    rows = [bench_row(512, 0, False, 1500.0), bench_row(0, 64, True, 300.0), bench_row(0, 64, 1, 90.0, 4096)]
    assert read_bench(json.dumps(rows)) == {
        (prefill(), "fa 0"): [1500.0],
        (decode(), "fa 1"): [300.0],
        (decode(1, 4096), "fa 1"): [90.0],
    }


def test_llama_batched_bench() -> None:
    text = "\nmain: n_kv_max = 4096\n" + "\n".join(
        json.dumps({"pp": 16, "tg": 64, "pl": n_seq, "flash_attn": 1, "speed_pp": 1.0, "speed_tg": 10.0 * n_seq})
        for n_seq in (8, 16)
    )
    assert read_batched(text) == {(decode(8), "fa 1"): [80.0], (decode(16), "fa 1"): [160.0]}


def test_the_peer_is_taken_at_its_best_in_each_cell() -> None:
    samples: Samples = {(prefill(), "fa 0"): [10.0], (prefill(), "fa 1"): [20.0], (decode(), "fa 0"): [7.0]}
    merge(samples, {(prefill(), "fa 1"): [22.0], (decode(), "fa 1"): [6.0]})
    found = best(samples)
    assert found[prefill()] == Rate(21.0, pytest.approx(2**0.5), "fa 1")
    assert found[decode()] == Rate(7.0, 0.0, "fa 0")
    assert best_settings(samples, [prefill()]) == {"fa 1"}
    assert best_settings(samples, [prefill(), decode()]) == {"fa 0", "fa 1"}


def test_our_rows() -> None:
    row = {"test": "decode", "n_seq": 8, "depth": 16, "tokens_per_second": 900.0, "limits": LIMITS}
    ours = Ours()
    ours.add([{**row, "share_of_read": 0.3, "share_of_compute": 0.2}])
    ours.add([{**row, "tokens_per_second": 1100.0, "limits": None}])
    assert best(ours.samples) == {decode(8): Rate(1000.0, pytest.approx(141.42, abs=0.01))}
    assert ours.shares == {decode(8): (0.3, 0.2)}
    assert ours.limits == LIMITS


def test_goals() -> None:
    assert goal("smollm2", "Q4_1", prefill()) == 4.0
    assert goal("smollm2", "Q4_1", decode()) == 3.0
    assert goal("smollm2", "Q4_1", decode(1, 8192)) == 3.0
    assert goal("smollm2", "Q4_1", decode(32)) == 4.0
    assert goal("random1b", "Q8_0", decode()) == 1.05
    assert goal("random1b", "F16", decode()) is None


def measured(model: str = "smollm2", kind: str = "Q4_0", ours: float = 5000.0) -> Measured:
    return Measured(
        model,
        kind,
        {prefill(): Rate(ours, 20.0), decode(): Rate(99.0, 0.5), decode(8): Rate(800.0, 1.0)},
        {prefill(): Rate(2000.0, 20.0, "fa 1"), decode(): Rate(50.0, 0.5, "fa 0")},
        {prefill(): (None, 0.57)},
    )


def test_a_goal_is_met_or_short() -> None:
    item = measured()
    assert item.ratio(prefill()) == 2.5
    assert [item.is_met(cell) for cell in columns([item])] == [True, False, None]
    assert measured(ours=3999.0).is_met(prefill()) is False
    assert measured(ours=4000.0).is_met(prefill()) is True


def test_the_document() -> None:
    text = document([measured(), measured("random1b", "Q6_K", ours=2000.0)], MACHINE, "x.png")
    assert "Goals: 2 met, 2 short." in text
    assert "| Q4_0 | 2.50 (≥ 2) met | 1.98 (≥ 2.5) **short** |  |" in text
    assert "| Q6_K | 1.00 (≥ 1.5) **short** | 1.98 (≥ 1.1) met |  |" in text
    assert "| Q4_0 | 5000 ± 20 | 99.0 ± 0.5 | 800 ± 1 |" in text
    assert "| Q4_0 | 2000 ± 20 fa 1 | 50.0 ± 0.5 fa 0 |  |" in text
    assert "| Q4_0 | - / 57 % | - / - | - / - |" in text
    assert "memory read 47.0 GB/s, int8 2000 Gop/s, f32 500 GFLOP/s" in text
    assert "![Ratios to llama.cpp](x.png)" in text
    assert MACHINE.slug == "amd-epyc-tm-9"


def test_other_measurements_have_other_names() -> None:
    def name(threads: int, depths: tuple[int, ...] = (), *of: tuple[str, ...]) -> str:
        machine = Machine("AMD EPYC", threads, 3, LIMITS)
        return result_name(datetime.date(2026, 1, 2), machine, Settings(3, threads, (), depths, None), *of)

    cores = os.cpu_count() or 0
    assert name(cores) == "2026-01-02-amd-epyc"
    assert name(cores + 1) == f"2026-01-02-amd-epyc-{cores + 1}-threads"
    assert name(cores, (4096,)) == "2026-01-02-amd-epyc-deep"
    assert name(cores, (), tuple(GOALS)) == "2026-01-02-amd-epyc"
    assert name(cores, (), ("smollm2",), ("Q4_0", "F16")) == "2026-01-02-amd-epyc-smollm2-Q4_0-F16"


def test_depths_are_columns_with_goals() -> None:
    cells = {decode(): Rate(300.0, 1.0), decode(1, 4096): Rate(200.0, 1.0), decode(1, 8192): Rate(100.0, 1.0)}
    peer = {decode(): Rate(100.0, 1.0), decode(1, 4096): Rate(100.0, 1.0), decode(1, 8192): Rate(25.0, 1.0)}
    item = Measured("smollm2", "Q4_1", cells, peer, {})
    text = document([item], Machine("AMD EPYC", 1, 3, LIMITS), "x.png")
    assert "AMD EPYC, 1 thread\n" in text
    assert "|  | decode 1 | decode @ 4096 | decode @ 8192 |" in text
    assert "| Q4_1 | 3.00 (≥ 3) met | 2.00 (≥ 3) **short** | 4.00 (≥ 3) met |" in text


def test_what_can_be_asked_for() -> None:
    assert wanted(["random1b"], ["Q4_0", "Q6_K"]) == [("random1b", "Q4_0"), ("random1b", "Q6_K")]
    assert len(wanted(["smollm2", "random1b"], [])) == 13
    assert wanted(["smollm2", "random1b"], ["F32"]) == [("smollm2", "F32")]
    with pytest.raises(ValueError, match="models: 'gemma' is not in the table; allowed: smollm2, random1b"):
        wanted(["gemma"], [])
    with pytest.raises(ValueError, match="types: random1b has no 'F16'"):
        wanted(["random1b"], ["F16"])
    with pytest.raises(ValueError, match="has no 'Q9'"):
        wanted(["smollm2", "random1b"], ["Q9"])


def test_the_random_model_has_the_size_of_its_name() -> None:
    shape = Shape()
    n = sum(rows * columns for _, rows, columns in shape.matrices())
    assert 1.09e9 < n < 1.11e9
    assert all(columns % 256 == 0 for _, _, columns in shape.matrices())
    texts, scores, kinds = vocabulary(shape.vocabulary)
    assert len(texts) == len(set(texts)) == len(scores) == len(kinds) == shape.vocabulary
    with pytest.raises(ValueError, match="vocabulary: 900000 is out of range"):
        vocabulary(900_000)
