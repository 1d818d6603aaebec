"""Ten times more clients than slots: those that are taken are answered in bounded time, the others are told when to
come again, and what is done in a second stays the same."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.attack import LONG, idle, resident_bytes
from tests.support.server import ROOT, Answer, Server, assert_error, running
from tests.torture.conftest import Report

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

N_SLOTS, MAX_QUEUE = 2, 6
SECONDS = 300 if LONG else 12
#: What throughput may lose; a short run on a busy machine says less.
LOSS = 0.1 if LONG else 0.3


@dataclass
class Load:
    """Clients who ask again and again, and come back when they are told to."""

    server: Server
    n_clients: int
    latencies: list[float] = field(default_factory=list)
    n_refused: int = 0
    n_retried: int = 0
    n_retries_served: int = 0
    waits: list[int] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    growth: int = 0

    def run(self, seconds: float) -> float:
        """Tokens a second."""
        ends = threading.Event()
        threads = [threading.Thread(target=self._guarded, args=(number, ends)) for number in range(self.n_clients)]
        before, began = tokens(self.server), time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(seconds / 2)
        half = resident_bytes(self.server.process.pid)
        time.sleep(seconds / 2)
        self.growth = resident_bytes(self.server.process.pid) - half
        rate = (tokens(self.server) - before) / (time.monotonic() - began)
        ends.set()
        for thread in threads:
            thread.join()
        assert not self.failures, self.failures[0]
        assert idle(self.server)
        return rate

    def _guarded(self, number: int, ends: threading.Event) -> None:
        try:
            self._ask(number, ends)
        except (AssertionError, httpx.HTTPError) as error:
            self.failures.append(error)

    def _ask(self, number: int, ends: threading.Event) -> None:
        drawn = random.Random(number)
        was_refused = False
        with httpx.Client(base_url=self.server.url, timeout=120) as client:
            while not ends.is_set():
                body = {"prompt": f"{number} " + "the dog " * drawn.choice([1, 10, 40]), "ignore_eos": True,
                        "n_predict": drawn.choice([8, 16, 48])}  # fmt: skip
                began = time.monotonic()
                answer = client.post("/completion", json=body)
                took = time.monotonic() - began
                self.n_retried += was_refused
                if answer.status_code == 200:
                    self.latencies.append(took)
                    self.n_retries_served += was_refused
                    was_refused = False
                    continue
                assert_error(Answer(answer.status_code, answer.json(), answer.headers), 429)
                assert took < 1.0, "a refusal that takes long"
                self.n_refused += 1
                was_refused = True
                wait = int(answer.headers["retry-after"])
                assert 1 <= wait <= 60
                self.waits.append(wait)
                ends.wait(wait)


def tokens(server: Server) -> float:
    """Tokens generated so far."""
    text = server.client.get("/metrics").text
    found = re.search(r"^llamacpp:tokens_predicted_total (\S+)$", text, re.M)
    assert found
    return float(found[1])


@pytest.fixture
def server() -> Iterator[Server]:
    flags = ("-c", "1024", "-np", str(N_SLOTS), "--max-queue", str(MAX_QUEUE), "--metrics", "-lv", "1")
    yield from running("-m", str(SMOLLM2), *flags)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
def test_ten_times_more_clients_than_slots(server: Server, report: Report) -> None:
    Load(server, N_SLOTS).run(2)
    # As many as it takes without refusing anybody.
    full = Load(server, N_SLOTS + MAX_QUEUE)
    peak = full.run(min(SECONDS, 60))
    assert full.n_refused == 0
    over = Load(server, 10 * N_SLOTS)
    rate = over.run(SECONDS)
    slowest, bound = max(over.latencies), 1.5 * max(full.latencies) + 1
    report.add("overload", len(over.latencies) + over.n_refused, growth=over.growth)
    report.note(
        f"overload for {SECONDS} s: {rate:.0f} tokens/s, at the peak {peak:.0f}; {len(over.latencies)} served, the "
        f"slowest in {slowest:.1f} s (without overload {max(full.latencies):.1f} s); {over.n_refused} refused with "
        f"Retry-After {min(over.waits)} to {max(over.waits)} s, {over.n_retries_served} of {over.n_retried} served "
        "when they came again"
    )
    assert over.n_refused > 0, "nobody was refused, so this was no overload"
    assert over.n_retries_served > 0
    assert slowest < bound
    assert rate > (1 - LOSS) * peak
    assert over.growth < 4_000_000
