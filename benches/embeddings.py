"""Measures embeddings of rustllm-serve and llama-server in turn: one request with many short texts.

Run it as `.bench/bin/python -m benches.embeddings` on an idle machine; it prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from benches.compare import RUSTLLM
from benches.models import ROOT
from benches.peer import Peer

MINILM = ROOT / ".models/all-MiniLM-L6-v2.F16.gguf"

WORDS = """time person year way day thing man world life hand part child eye woman place work week case point
government company number group problem fact river mountain city music water history science language market
""".split()  # noqa: SIM905


def texts(n: int, words: tuple[int, int]) -> list[str]:
    """Different texts of random words, the same ones in every run."""
    choose = random.Random(1)
    return [" ".join(choose.choices(WORDS, k=choose.randint(*words))) for _ in range(n)]


def ask(url: str, body: bytes) -> None:
    """One request, read to its end."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/embeddings", body)) as answer:
        answer.read()


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """A server on a free port, ready when yielded, ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                ask(url, json.dumps({"input": "ready?"}).encode())
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def measure(url: str, body: bytes, repeats: int) -> float:
    """The median time of a request in seconds, after one that warms up."""
    ask(url, body)
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        ask(url, body)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MINILM, help="a GGUF file of an encoder")
    parser.add_argument("--peer", type=Path, default=ROOT / ".bench/peer", help="llama.cpp's virtual environment")
    parser.add_argument("--threads", type=int, default=2, help="threads of both")
    parser.add_argument("--texts", type=int, default=256, help="texts of a request")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each server")
    parser.add_argument("--repeats", type=int, default=5, help="requests of a turn")
    options = parser.parse_args()
    peer = Peer.install(options.peer)
    flags = ["-m", str(options.model), "-t", str(options.threads), "--embedding"]
    programs = {
        "rustllm": [str(RUSTLLM), "serve", *flags],
        "llama.cpp": [str(peer.bin / "llama-server"), *flags],
        "llama.cpp, 32 slots": [str(peer.bin / "llama-server"), *flags, "-np", "32", "-c", str(32 * 512)],
    }
    print("| words a text | " + " | ".join(f"{name}, texts/s" for name in programs) + " | ratio to its best |")
    print("|---|" + "---:|" * (len(programs) + 1))
    for words in ((4, 12), (40, 80), (200, 300)):
        body = json.dumps({"input": texts(options.texts, words)}).encode()
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(options.rounds):
            for name, command in programs.items():
                with serving(command) as url:
                    times[name].append(measure(url, body, options.repeats))
        rates = [options.texts / statistics.median(times[name]) for name in programs]
        shown = " | ".join(f"{rate:.0f}" for rate in rates)
        print(f"| {words[0]} to {words[1]} | {shown} | {rates[0] / max(rates[1:]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
