"""A cache that is fitted into the memory that there is: nothing that requests do makes it take more."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.attack import GOOD, anonymous_bytes, bits
from tests.support.server import ROOT, Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory that is left is read from /proc")

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

#: Begins a server whose address space ends at three gigabytes, which is known beforehand as free memory is not.
LIMITED = """
import resource, sys
from rustllm.cli import serve
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
sys.exit(serve(sys.argv[1:]))
"""


def limited(*flags: str, room_mib: int) -> Server:
    """A server whose cache has room for about so many MiB, though its address space has more."""
    # A heap for each thread would take address space now and then.
    own: dict[str, Any] = {"program": ("-c", LIMITED), "env": {"MALLOC_ARENA_MAX": "1"}}
    refused = Server(*flags, "--fit-target", "1000000", **own)
    assert refused.process.wait(60) == 1
    left = re.search(r"of (\S+) GiB of memory that are left, 0.00 may be taken", refused.output())
    refused.log.close()
    assert left
    target = int(1024 * float(left[1])) - room_mib
    return Server(*flags, "--fit-target", str(target), **own).wait()


def n_ctx_of(server: Server) -> int:
    return int(server.get("/props").body["default_generation_settings"]["n_ctx"])


def test_a_full_cache_takes_no_more_memory() -> None:
    """Out of memory for the cache: sequences wait for each other, and what is only kept for reuse goes."""
    # A token takes 640 bytes: there is room for three of four contexts, and 64 MB are asked for.
    server = limited("-c", "40000", "-np", "4", "-b", "512", "-t", "2", room_mib=20)
    try:
        want = bits(server.post("/completion", GOOD))
        before = anonymous_bytes(server.process.pid)

        def ask(index: int) -> int:
            prompt = [1, *(3 + (index * 7919 + at * at) % 500 for at in range(1000))]
            return server.post("/completion", {"prompt": prompt, "n_predict": 4}).status

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(100))) == {200}
        assert bits(server.post("/completion", GOOD)) == want
        grown = anonymous_bytes(server.process.pid) - before
        # It was full, and has taken no more.
        assert 12 << 20 < grown < 32 << 20
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


@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")
def test_a_model_s_own_context_is_shortened() -> None:
    # It was made for 8,192 tokens, which take 180 MiB.
    server = limited("-m", str(SMOLLM2), "--fit-ctx", "256", "-b", "512", "-t", "2", room_mib=60)
    try:
        n_ctx = n_ctx_of(server)
        assert 1024 <= n_ctx <= 4096
        assert n_ctx % 256 == 0
        assert f"the context is {n_ctx} tokens instead of 8192" in server.output()
        prompt = [500 + at % 1000 for at in range(n_ctx - 8)]
        assert server.post("/completion", {"prompt": prompt, "n_predict": 4}).status == 200
        assert server.post("/completion", {"prompt": [*prompt, *prompt], "n_predict": 4}).status == 400
    finally:
        assert server.stop() == 0
