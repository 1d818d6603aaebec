"""Keys that ask for more than a server can do: each gets its share by weight, and one that asks for little does not
wait behind one that asks for much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import httpx
import pytest

from tests.support.attack import LONG
from tests.support.load import Load, run
from tests.support.server import ROOT, Server, running
from tests.torture.conftest import Report

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

KEYS = {"one": "name=one", "three": "name=three weight=3", "watcher": "name=watcher"}
SECONDS = 120 if LONG else 10
#: How many times as long a request may take beside others as it takes alone: those that are before it, two at a time,
#: and then its own time with another beside it. In the order of their coming a dozen would be before it.
BOUND = 4 if LONG else 6
#: Tokens of answers.
SIZES, LENGTH = (8, 24, 80), 16
#: By how much a key's part of all tokens may differ from its weight's part of all weights. A request is served as a
#: whole, and in a short run one of the longest is a twelfth of what all get.
TOLERANCE = 0.04 if LONG else 0.1

pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("".join(f"key-{name} {rest}\n" for name, rest in KEYS.items()))
    flags = ("-c", "1024", "-np", "2", "--max-queue", "12", "--metrics", "--api-key-file", str(file), "-lv", "1")
    for server in running("-m", str(SMOLLM2), *flags):
        server.client.headers.update(key("watcher"))
        yield server


def key(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-{name}"}


def clients(server: Server, n_clients: int, name: str, sizes: tuple[int, ...]) -> Load:
    """Clients of a key, who never rest. One of their requests may be refused late, when another key's comes in."""
    return Load(server, n_clients, key(name), sizes, reads=0.0, refused_within=60.0)


def generated(server: Server, name: str) -> float:
    """Tokens that a key's requests have generated."""
    wanted = f'rustllm:key_generated_tokens_total{{key="{name}"}}'
    (line,) = (line for line in server.client.get("/metrics").text.splitlines() if line.startswith(wanted))
    return float(line.split()[-1])


@pytest.mark.timeout(300)
def test_shares_follow_the_weights(server: Server, report: Report) -> None:
    """The light key has three times as many clients, which get it nothing."""
    loads = {"one": clients(server, 30, "one", SIZES), "three": clients(server, 10, "three", SIZES)}
    before = {name: generated(server, name) for name in loads}
    run(server, SECONDS, *loads.values())
    got = {name: generated(server, name) - before[name] for name in loads}
    share = got["three"] / sum(got.values())
    refused = {name: len(load.refusals) for name, load in loads.items()}
    report.add("fairness", sum(len(load.latencies) + len(load.refusals) for load in loads.values()))
    report.note(
        f"two keys of weight 1 (30 clients) and 3 (10 clients), {SECONDS} s: {got['one']:.0f} and {got['three']:.0f} "
        f"tokens, {share:.0%} for the heavy one; {refused['one']} and {refused['three']} requests refused"
    )
    assert refused["one"] > 0, "the queue was never full, so this was no overload"
    assert share == pytest.approx(0.75, abs=TOLERANCE)


@pytest.mark.timeout(300)
def test_one_client_does_not_wait_behind_forty_of_another_key(server: Server, report: Report) -> None:
    n_tries = 100 if LONG else 8
    alone = [ask(server) for _ in range(n_tries)]
    flood = clients(server, 40, "one", (LENGTH,))
    flood.start()
    try:
        time.sleep(2)
        beside = [ask(server) for _ in range(n_tries)]
    finally:
        flood.stop()
    # Before and after, since others may use the machine as well.
    alone += [ask(server) for _ in range(n_tries)]
    theirs = median(flood.latencies)
    report.add("fairness", n_tries + len(flood.latencies) + len(flood.refusals))
    report.note(
        f"one client beside 40 of another key: {median(beside):.2f} s in the middle and {max(beside):.2f} s at most, "
        f"alone {median(alone):.2f} s and {max(alone):.2f} s; those 40 took {theirs:.2f} s in the middle"
    )
    assert flood.refusals, "the queue was never full, so this was no overload"
    assert median(beside) < BOUND * median(alone)
    assert max(beside) < 2 * BOUND * max(alone)
    assert median(beside) < theirs / 2


def ask(server: Server) -> float:
    """Seconds that a request takes which must be served."""
    began = time.monotonic()
    body = {"prompt": "The little dog", "n_predict": LENGTH, "ignore_eos": True}
    answer = httpx.post(f"{server.url}/completion", json=body, headers=key("three"), timeout=60)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began
