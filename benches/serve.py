"""Measures rustllm-serve and llama-server in turn with streaming clients, and writes the table.

Run it by `make bench-serve ARGS="--clients 16"` on an idle machine. The load generator is
`rustllm bench --url`, a process of its own whose processor time is reported.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches import models
from benches.models import ROOT, RUSTLLM
from benches.peer import Peer
from benches.report import Machine, run_command, table, write_result
from rustllm.bench.show import LATENCY, latency_cells

#: Least parts of the engine's own rate, and least ratio to llama-server's, with 16 streams.
GOAL_CLIENTS, GOAL_OF_ENGINE, GOAL_OF_PEER = 16, 0.8, 2.5

#: Most microseconds of the event loop's thread for each token, its part of the requests included.
GOAL_LOOP = 30

#: Most part of the first request's time to the first token that a second one with its prefix may take.
GOAL_OF_PREFIX = 0.1

#: Tokens of a slot beside prompt and answer: the chat template's.
TEMPLATE_TOKENS = 64

#: Slots of the server that the probes ask, and the context tokens of each.
PROBE_SLOTS, PROBE_TOKENS = 6, 5120


@dataclass(frozen=True)
class Settings:
    """What is asked of both servers."""

    model: Path
    threads: int
    clients: Sequence[int]
    n_prompt: int
    n_gen: int
    requests: int
    rounds: int

    @property
    def slot_tokens(self) -> int:
        """Context tokens of a slot; a word is at most two tokens of the load's prompts."""
        return -(-(2 * self.n_prompt + self.n_gen + TEMPLATE_TOKENS) // 256) * 256

    def server_flags(self, slots: int, slot_tokens: int) -> list[str]:
        """The flags that both understand."""
        sizes = ["-np", str(slots), "-c", str(slots * slot_tokens)]
        return ["-m", str(self.model), "-t", str(self.threads), *sizes]


@dataclass
class Found:
    """The rows of one server over all rounds, and its own processor seconds in each."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    server_cpu: dict[str, list[float]] = field(default_factory=dict)
    #: Seconds of the main thread, which is our event loop, and the tokens that were streamed meanwhile.
    loop_cpu: dict[str, list[float]] = field(default_factory=dict)
    tokens: dict[str, list[float]] = field(default_factory=dict)
    #: What `benches/probes.py` found.
    probes: dict[str, Any] = field(default_factory=dict)

    def mean(self, test: str, name: str) -> float:
        """The mean of a column over the rounds; 0 where it was never measured."""
        values = [row[name] for row in self.rows.get(test, ()) if row[name] is not None]
        return statistics.fmean(values) if values else 0.0


def main() -> None:
    """The command line."""
    options = _parser().parse_args()
    peer = Peer.install(options.peer or ROOT / ".bench/peer")
    path = models.make(options.model, options.type, peer)
    settings = Settings(
        path, options.threads, options.clients, options.prompt, options.gen, options.requests, options.rounds
    )
    programs = {"rustllm": [str(RUSTLLM), "serve"], "llama.cpp": [str(peer.bin / "llama-server")]}
    flags = settings.server_flags(max(settings.clients), settings.slot_tokens)
    # llama-server's prompt cache would copy each slot's state away, of no use to prompts that all differ.
    extra = {"rustllm": [], "llama.cpp": ["-cram", "0"]}
    found = {name: Found() for name in programs}
    rate = 0.0
    for _ in range(settings.rounds):
        for name, program in programs.items():
            with serving([*program, *flags, *extra[name]]) as (url, process):
                closed(url, process, settings, found[name])
                if not rate:
                    rate = arrival_rate(found[name], settings)
                poisson(url, process, settings, found[name], rate)
    for name, program in programs.items():
        with serving([*program, *settings.server_flags(PROBE_SLOTS, PROBE_TOKENS)]) as (url, _):
            found[name].probes = probe(url)
    engine = engine_rates(settings, round(found["rustllm"].mean(f"{settings.clients[0]} clients", "n_prompt")))
    machine = Machine.here({}, settings.threads, settings.rounds, None)
    text = document(settings, found, engine, machine)
    write_result(options.name or f"{datetime.date.today().isoformat()}-{machine.slug}-serve", text)


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server on a free port, ready and warmed up when yielded, ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(url, process)
        load(url, "-b", "1", "-r", "1", "-p", "8", "-n", "8")
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(f"{url}/health"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} is not ready after {seconds:.0f} s")


def load(url: str, *arguments: str) -> list[dict[str, Any]]:
    """The rows of the load generator."""
    command = [RUSTLLM, "bench", "--url", url, "-o", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator ended with {done.returncode}: {done.stderr[-2000:]}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def closed(url: str, process: subprocess.Popen[bytes], settings: Settings, found: Found) -> None:
    """A row for each number of clients."""
    for clients in settings.clients:
        _row(url, process, settings, found, "-b", str(clients), "-r", str(settings.requests))


def poisson(url: str, process: subprocess.Popen[bytes], settings: Settings, found: Found, rate: float) -> None:
    """A row with arrivals at random."""
    n = settings.requests * GOAL_CLIENTS
    _row(url, process, settings, found, "--rate", f"{rate:.2f}", "--requests", str(n))


def _row(url: str, process: subprocess.Popen[bytes], settings: Settings, found: Found, *arguments: str) -> None:
    before, loop_before = cpu_seconds(process.pid), loop_seconds(process.pid)
    (row,) = load(url, "-p", str(settings.n_prompt), "-n", str(settings.n_gen), *arguments)
    found.rows.setdefault(row["test"], []).append(row)
    found.server_cpu.setdefault(row["test"], []).append(cpu_seconds(process.pid) - before)
    found.loop_cpu.setdefault(row["test"], []).append(loop_seconds(process.pid) - loop_before)
    found.tokens.setdefault(row["test"], []).append(row["requests"] * row["n_gen"])


def arrival_rate(found: Found, settings: Settings) -> float:
    """Requests a second that keep the first server measured at half of what it can do, for both."""
    most = max(found.mean(test, "tokens_per_second") for test in found.rows)
    return round(0.5 * most / settings.n_gen, 2)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its threads; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def probe(url: str) -> dict[str, Any]:
    """What `benches/probes.py` finds."""
    command = [ROOT / ".venv/bin/python", Path(__file__).with_name("probes.py"), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the probes ended with {done.returncode}: {done.stderr[-2000:]}")
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def loop_seconds(pid: int) -> float:
    """Processor time of a process's main thread; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9
    except OSError:
        return 0.0


def engine_rates(settings: Settings, n_prompt: int) -> dict[int, float]:
    """Tokens a second of the engine alone, by sequences, halfway through the answers to `n_prompt` tokens."""
    depth = n_prompt + settings.n_gen // 2
    sizes = ["-p", "0", "-n", "32", "-d", str(depth), "-b", ",".join(map(str, settings.clients)), "-r", "3"]
    command = [RUSTLLM, "bench", "-m", str(settings.model), "-t", str(settings.threads), "-o", "json", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {row["n_seq"]: row["tokens_per_second"] for row in json.loads(done.stdout)}


def document(settings: Settings, found: dict[str, Found], engine: dict[int, float], machine: Machine) -> str:
    """The whole result in Markdown."""
    parts = [
        f"# rustllm-serve beside llama-server: {machine.cpu}, {machine.threads} threads",
        f"{settings.model.stem}; chats of {settings.n_prompt} random words, answers of {settings.n_gen} tokens, "
        f"greedy, no prefix shared; {settings.rounds} rounds in turn. Steady: tokens a second while all clients are "
        "streaming. CPU: processor seconds a wall second, of the server and of the load generator.",
    ]
    for name, item in found.items():
        parts += [f"{name}:", table(HEADER, [_cells(item, test) for test in item.rows])]
    parts += ["Delivered:", delivered(settings, found, engine)]
    parts += ["A prefix of 2,000 words that two requests share, and a prompt of 4,000 beside four streams:"]
    parts += [table(PROBES, [_probe_cells(name, item.probes) for name, item in found.items()])]
    return "\n\n".join(parts) + "\n"


HEADER = ("", *LATENCY, "CPU server / load")


def _cells(item: Found, test: str) -> list[str]:
    wall = item.mean(test, "wall")
    cpu = f"{statistics.fmean(item.server_cpu[test]) / wall:.2f} / {item.mean(test, 'load_cpu') / wall:.2f}"
    return [test, *latency_cells(lambda name: item.mean(test, name)), cpu]


PROBES = (
    "",
    "TTFT ms, first",
    "second",
    "part",
    "gap ms before the long prompt",
    "during, median",
    "during, longest",
    "its TTFT ms",
)


def _probe_cells(name: str, probes: dict[str, Any]) -> list[str]:
    first, second = probes["prefix"]["first"], probes["prefix"]["second"]
    part = _judged(second / first, GOAL_OF_PREFIX if name == "rustllm" else None, below=True)
    names = ("gap_before", "gap_during", "longest_during", "ttft")
    times = ["" if probes["intrusion"][key] is None else f"{probes['intrusion'][key]:.1f}" for key in names]
    return [name, f"{first:.1f}", f"{second:.1f}", part, *times]


def delivered(settings: Settings, found: dict[str, Found], engine: dict[int, float]) -> str:
    """The steady rates beside the engine's own and the peer's."""
    rows = []
    for clients in settings.clients:
        test = f"{clients} clients"
        ours, theirs = (found[name].mean(test, "steady_tokens_per_second") for name in ("rustllm", "llama.cpp"))
        parts = (_part(ours, engine[clients]), _part(ours, theirs))
        goals = zip(parts, (GOAL_OF_ENGINE, GOAL_OF_PEER), strict=True)
        shown = [_judged(part, goal if clients == GOAL_CLIENTS else None) for part, goal in goals]
        loop = 1e6 * sum(found["rustllm"].loop_cpu[test]) / sum(found["rustllm"].tokens[test])
        cost = _judged(loop, GOAL_LOOP if clients == GOAL_CLIENTS else None, below=True)
        rows.append([test, f"{ours:.0f}", f"{engine[clients]:.0f}", shown[0], f"{theirs:.0f}", shown[1], cost])
    return table(("", "rustllm", "its engine alone", "part", "llama-server", "ratio", "event loop µs/token"), rows)


def _part(value: float, whole: float) -> float | None:
    return value / whole if value and whole else None


def _judged(value: float | None, goal: float | None, *, below: bool = False) -> str:
    if value is None or goal is None:
        return "" if value is None else f"{value:.2f}"
    met = value <= goal if below else value >= goal
    return f"{value:.2f} ({'≤' if below else '≥'} {goal:g}) {'met' if met else '**short**'}"


def _parser() -> argparse.ArgumentParser:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    parser = argparse.ArgumentParser(description=__doc__, prog="bench-serve")
    parser.add_argument("--model", default="smollm2", help="smollm2 or random1b (smollm2)")
    parser.add_argument("--type", default="Q4_0", help="its quantization (Q4_0)")
    parser.add_argument("--clients", type=numbers, default=(1, 4, 16, 64), help="streaming at once (1,4,16,64)")
    parser.add_argument("--prompt", type=int, default=64, help="words of a prompt (64)")
    parser.add_argument("--gen", type=int, default=128, help="tokens of an answer (128)")
    parser.add_argument("--requests", type=int, default=3, help="of each client (3)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server (2)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="compute threads (all cores)")
    parser.add_argument("--peer", type=Path, help="a virtual environment that has the peer (.bench/peer)")
    parser.add_argument("--name", help="of the result's file (the date and the processor)")
    return parser


if __name__ == "__main__":
    run_command(main)
