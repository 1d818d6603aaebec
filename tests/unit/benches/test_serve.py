"""What is made of the load generator's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benches.report import Machine
from benches.serve import Found, Settings, arrival_rate, delivered, document

SETTINGS = Settings(Path("x-Q4_0.gguf"), 2, (1, 16), 64, 128, 3, 2)


def row(test: str, rate: float, steady: float | None) -> dict[str, Any]:
    times = {f"{name}_{part}": 5.0 for name in ("ttft", "tpot", "itl") for part in ("p50", "p99")}
    return {"test": test, "tokens_per_second": rate, "steady_tokens_per_second": steady, **times} | {
        "goodput": 1.5,
        "wall": 2.0,
        "load_cpu": 0.1,
    }


def found(steady: float) -> Found:
    tests = ("1 clients", "16 clients", "2 requests/s")
    return Found(
        {test: [row(test, steady * 0.9, steady if "clients" in test else None)] * 2 for test in tests},
        {test: [3.0, 3.4] for test in tests},
        {test: [0.02, 0.02] for test in tests},
        {test: [1000.0, 1000.0] for test in tests},
        {
            "prefix": {"first": 900.0, "second": 45.0},
            "intrusion": {"gap_before": 2.0, "gap_during": None, "longest_during": 30.0, "ttft": 800.0},
        },
    )


def test_delivered() -> None:
    text = delivered(SETTINGS, {"rustllm": found(1500.0), "llama.cpp": found(750.0)}, {1: 1600.0, 16: 2000.0})
    last = text.splitlines()[-1]
    assert (
        last
        == "| 16 clients | 1500 | 2000 | 0.75 (≥ 0.8) **short** | 750 | 2.00 (≥ 2.5) **short** | 20.00 (≤ 30) met |"
    )
    assert "| 1 clients | 1500 | 1600 | 0.94 | 750 | 2.00 | 20.00 |" in text


def test_the_document() -> None:
    machine = Machine("cpu", 2, 2, {})
    text = document(SETTINGS, {"rustllm": found(1500.0), "llama.cpp": found(700.0)}, {1: 1.0, 16: 1800.0}, machine)
    assert "| 16 clients | 1350 | 1500 | 5.0 / 5.0 | 5.0 / 5.0 | 5.0 / 5.0 | 1.50 | 1.60 / 0.05 |" in text
    assert "| 2 requests/s | 1350 |  | 5.0 / 5.0 |" in text
    assert "| rustllm | 900.0 | 45.0 | 0.05 (≤ 0.1) met | 2.0 |  | 30.0 | 800.0 |" in text


def test_the_rate_of_arrivals_is_half_of_what_can_be_done() -> None:
    assert arrival_rate(found(1500.0), SETTINGS) == round(0.5 * 1350 / 128, 2)


def test_both_servers_get_room_for_every_client() -> None:
    flags = SETTINGS.server_flags(16, SETTINGS.slot_tokens)
    assert flags[flags.index("-c") + 1] == str(16 * 512)
