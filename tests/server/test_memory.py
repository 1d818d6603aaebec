"""What a server holds in memory once its model is loaded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.attack import resident_bytes
from tests.support.server import ROOT, Server

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

MB = 1_000_000


@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_a_loaded_model_takes_little_more_than_its_file() -> None:
    server = Server("-m", str(SMOLLM2)).wait()
    try:
        resident = resident_bytes(server.process.pid)
    finally:
        server.stop()
    # The packed weights are no wider than the file's, whose own pages are let go. Python and the web
    # framework take most of the 60 MB. The cache's pages come with the first tokens, so none is here.
    assert resident <= 1.15 * SMOLLM2.stat().st_size + 60 * MB
    # They are there: a model that was not loaded would pass as well.
    assert resident > SMOLLM2.stat().st_size


@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_a_sleeping_model_gives_its_memory_back() -> None:
    server = Server("-m", str(SMOLLM2), "-c", "1024", "--sleep-idle-seconds", "1").wait()
    request = {"prompt": "The capital of France", "n_predict": 8, "temperature": 0}
    try:
        first = server.post("/completion", request).body["content"]
        awake = resident_bytes(server.process.pid)
        deadline = time.monotonic() + 20
        while not server.get("/props").body["is_sleeping"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)  # the thread ends a moment after the flag is set
        asleep = resident_bytes(server.process.pid)
        second = server.post("/completion", request).body["content"]
    finally:
        server.stop()
    assert awake - asleep > 0.9 * SMOLLM2.stat().st_size
    assert second == first


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_what_a_request_came_with_is_free_when_it_is_answered() -> None:
    """It is not left to the garbage collector, which comes by after hundreds of them."""
    server = Server("-c", "512", "--api-key", "right", "-lv", "1").wait()
    try:

        def ask(n: int) -> int:
            for _ in range(n):
                key = {"authorization": "Bearer " + "k" * 60_000}
                assert server.post("/completion", {"prompt": "x"}, headers=key).status == 401
            return resident_bytes(server.process.pid)

        first = ask(20)
        assert ask(400) - first < 6 * MB
    finally:
        server.stop()
