"""A cache that is fitted into the memory that there is: nothing that requests do makes it take more."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.attack import GOOD, anonymous_bytes, bits, metric
from tests.support.server import ROOT, Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory that is left is read from /proc")


def available() -> int:
    """MiB that the machine has left."""
    lines = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else ["MemAvailable: 0"]
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10


#: Where more is left than the address space of the servers here has, what they find is the same each time.
ample = pytest.mark.skipif(available() < 4096, reason="4 GiB of free memory are needed")

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

#: Memory that is to be there for the cache, give or take what two starts differ in.
ROOM_MIB = 80

#: What a token takes in the embedded model's cache of 32-bit numbers.
TOKEN_BYTES = 1280

#: Begins a server whose address space ends at three gigabytes, which is known beforehand as free memory is not.
LIMITED = """
import resource, sys
from rustllm.cli import serve
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
sys.exit(serve(sys.argv[1:]))
"""


def limited(*flags: str) -> Server:
    """A server whose cache has room for some dozens of MiB, though its address space has more: what another one says is
    left, which may be some more or less for this one."""
    # A heap for each thread would take address space now and then.
    own: dict[str, Any] = {"program": ("-c", LIMITED), "env": {"MALLOC_ARENA_MAX": "1"}}
    refused = Server(*flags, "--fit-target", "1000000", **own)
    assert refused.process.wait(60) == 1
    left = re.search(r"of (\S+) GiB of memory that are left, 0.00 may be taken", refused.output())
    refused.log.close()
    assert left
    target = int(1024 * float(left[1])) - ROOM_MIB
    return Server(*flags, "--fit-target", str(target), "--metrics", **own).wait()


def n_ctx_of(server: Server) -> int:
    return int(server.get("/props").body["default_generation_settings"]["n_ctx"])


@ample
def test_a_full_cache_takes_no_more_memory() -> None:
    """Out of memory for the cache: sequences wait for each other, and what is only kept for reuse goes."""
    # Four contexts of 10,000 tokens, and three times as much for reuse, are asked for.
    server = limited("-c", "40000", "-np", "4", "-ctk", "f32", "-ctv", "f32", "-b", "512", "-t", "2")
    try:
        room = int(metric(server, "rustllm:kv_cache_max_tokens")) * TOKEN_BYTES
        assert 10_000 * TOKEN_BYTES <= room < 160_000 * TOKEN_BYTES
        want = bits(server.post("/completion", GOOD))
        before = anonymous_bytes(server.process.pid)

        def ask(index: int) -> int:
            prompt = [1, *(3 + (index * 7919 + at * at) % 500 for at in range(1000))]
            return server.post("/completion", {"prompt": prompt, "n_predict": 4}).status

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(room // (1000 * TOKEN_BYTES) + 20))) == {200}
        assert bits(server.post("/completion", GOOD)) == want
        grown = anonymous_bytes(server.process.pid) - before
        assert room - (4 << 20) < grown < room + (12 << 20), "it was full, and has taken no more"
    finally:
        assert server.stop() == 0


def test_a_context_without_room_is_refused() -> None:
    huge = 2_000_000_000
    server = Server("-c", str(huge))
    assert server.process.wait(60) == 1
    output = server.output()
    server.log.close()
    assert f"n_ctx: a context of {huge} tokens takes 1192.09 GiB" in output, output
    assert "fit off" in output
    # Nobody looks where that is asked for; pages come with the first tokens.
    server = Server("-c", str(huge), "--fit", "off").wait()
    try:
        assert n_ctx_of(server) == huge
        assert server.post("/completion", GOOD).status == 200
    finally:
        server.stop()


@ample
@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
def test_a_model_s_own_context_is_shortened() -> None:
    # It was made for 8,192 tokens, which take 180 MiB.
    server = limited("-m", str(SMOLLM2), "--fit-ctx", "256", "-b", "512", "-t", "2")
    try:
        n_ctx = n_ctx_of(server)
        assert 256 <= n_ctx < 8192
        assert n_ctx % 256 == 0
        assert f"the context is {n_ctx} tokens instead of 8192" in server.output()
        prompt = [500 + at % 1000 for at in range(n_ctx - 8)]
        assert server.post("/completion", {"prompt": prompt, "n_predict": 4}).status == 200
        assert server.post("/completion", {"prompt": [*prompt, *prompt], "n_predict": 4}).status == 400
    finally:
        assert server.stop() == 0
