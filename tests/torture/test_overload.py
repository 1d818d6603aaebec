"""Ten times more clients than slots: those that are taken are answered in bounded time, the others are told when there
will be a place for them, and what is done in a second stays the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.attack import LONG
from tests.support.load import Load, run
from tests.support.server import ROOT, Server, running
from tests.torture.conftest import Report

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

N_SLOTS, MAX_QUEUE = 2, 6
SECONDS = 600 if LONG else 12
#: What throughput may lose; a short run on a busy machine says less.
LOSS = 0.1 if LONG else 0.3
#: What it may hold more in the second half: in a short run it has not held all yet that it needs.
GROWTH_BYTES = 2_000_000 if LONG else 4_000_000
#: How often, at least, a place must have become free for each who was to be back by then. What is told is what such
#: places took of late, and the next requests may be longer.
KEPT = 0.8
#: Who comes back competes for it with those who ask for the first time, and these are as many: clients who have been
#: served. So half of those who come back find a place; a short run has only twenty of them.
SERVED_AGAIN = 0.4 if LONG else 0.2


@pytest.fixture
def server() -> Iterator[Server]:
    flags = ("-c", "1024", "-np", str(N_SLOTS), "--max-queue", str(MAX_QUEUE), "--metrics", "-lv", "1")
    yield from running("-m", str(SMOLLM2), *flags)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
def test_ten_times_more_clients_than_slots(server: Server, report: Report) -> None:
    run(server, 2, Load(server, N_SLOTS))
    # As many as it takes without refusing anybody, who ask again at once: the most that there is to be had.
    full = Load(server, N_SLOTS + MAX_QUEUE, reads=0.0)
    peaks = [run(server, min(SECONDS, 60) / 2, full).tokens_per_second]
    over = Load(server, 10 * N_SLOTS)
    measured = run(server, SECONDS, over)
    # Before and after, since others may use the machine as well.
    afterwards = Load(server, full.n_clients, reads=0.0)
    peaks.append(run(server, min(SECONDS, 60) / 2, afterwards).tokens_per_second)
    full.latencies += afterwards.latencies
    assert not full.refusals + afterwards.refusals
    peak = sum(peaks) / 2
    rate, slowest = measured.tokens_per_second, max(over.latencies)
    assert over.returns, "nobody was refused and came back, so this was no overload"
    n_kept, n_promised = over.promises()
    report.add("overload", len(over.latencies) + len(over.refusals), growth=measured.growth)
    report.note(
        f"overload for {SECONDS} s: {rate:.0f} tokens/s, at the peak {peak:.0f}; {len(over.latencies)} served, the "
        f"slowest in {slowest:.1f} s (without overload {max(full.latencies):.1f} s); {len(over.refusals)} refused with "
        f"Retry-After {min(over.waits)} to {max(over.waits)} s: {n_kept} of {n_promised} times a place had become "
        f"free for each by then, {over.n_served_again} of {len(over.returns)} were served when they came again"
    )
    assert slowest < 1.5 * max(full.latencies) + 1
    assert rate > (1 - LOSS) * peak
    assert measured.growth < GROWTH_BYTES
    assert n_kept >= KEPT * n_promised
    assert over.n_served_again >= SERVED_AGAIN * len(over.returns)
