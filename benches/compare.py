"""Measures rustllm and llama.cpp in turn on the same files and threads, and writes the table.

Run it by `make bench-compare ARGS="--models smollm2 --types Q4_0 --rounds 2"` on an idle machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches import models
from benches.cells import DEPTH, GEN, GOALS, PROMPT, SEQUENCES, Measured, Samples, best, columns, decode, merge, prefill
from benches.models import ROOT, RUSTLLM
from benches.peer import AVX2_BUILD, Peer, best_settings
from benches.report import RESULTS, Machine, document, plot, run_command, write_result


@dataclass
class Settings:
    """What is compared, and how often."""

    rounds: int
    threads: int
    sequences: Sequence[int]
    depths: Sequence[int]
    simd: str | None


@dataclass
class Ours:
    """Our rows: rates, and shares of the machine's limits."""

    samples: Samples = field(default_factory=dict)
    shares: dict[Any, tuple[float | None, float | None]] = field(default_factory=dict)
    limits: dict[str, Any] | None = None

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Takes the rows of `rustllm bench -o json`."""
        for row in rows:
            cell = prefill() if row["test"] == "prefill" else decode(row["n_seq"], row["depth"])
            self.samples.setdefault((cell, ""), []).append(row["tokens_per_second"])
            if row["limits"]:
                self.limits = row["limits"]
                self.shares[cell] = (row["share_of_read"], row["share_of_compute"])


def main() -> None:
    """The command line."""
    options = _parser().parse_args()
    settings = Settings(options.rounds, options.threads, options.sequences, options.depths, options.simd)
    rows = wanted(options.models, options.types)
    build = AVX2_BUILD if options.simd == "avx2" else ""
    peer = Peer.install(options.peer or ROOT / f".bench/peer{'-avx2' if build else ''}", build=build)
    files = [(model, kind, models.make(model, kind, peer)) for model, kind in rows]
    measured, limits = [], None
    for model, kind, path in files:
        item, limits = compare(model, kind, path, peer, settings)
        measured.append(item)
        cells = [(cell.name, item.ratio(cell)) for cell in columns([item])]
        print(f"{path.stem}: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in cells if ratio), flush=True)
    machine = Machine.here(limits or {}, settings.threads, settings.rounds, settings.simd)
    name = result_name(datetime.date.today(), machine, settings, options.models, options.types)
    _write(measured, machine, options.name or name)


def wanted(names: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The rows of the table that are asked for; ValueError where there are none such."""
    rows = [(model, kind) for model in names for kind in GOALS.get(model, {}) if not kinds or kind in kinds]
    for model in names:
        for kind in kinds:
            # A type that only one of several models has is no mistake.
            if len(names) == 1 or not any(kind in table for table in GOALS.values()):
                models.check(model, kind)
        if model not in GOALS:
            models.check(model, "")
    return rows


def compare(
    model: str, kind: str, path: Path, peer: Peer, settings: Settings
) -> tuple[Measured, dict[str, Any] | None]:
    """A file in both, in turn. The first round tries both of the peer's attentions, the others those
    that were best at something."""
    ours, theirs = Ours(), Samples()
    flash = [0, 1]
    for index in range(settings.rounds):
        _run_ours(path, settings, ours, limits=index == 0)
        merge(
            theirs,
            peer.measure(
                path, threads=settings.threads, flash=flash, sequences=settings.sequences, depths=settings.depths
            ),
        )
        good = best_settings(theirs, [cell for cell, _ in theirs])
        flash = [setting for setting in (0, 1) if f"fa {setting}" in good]
    return Measured(model, kind, best(ours.samples), best(theirs), ours.shares), ours.limits


def _run_ours(path: Path, settings: Settings, ours: Ours, *, limits: bool) -> None:
    environment = {**os.environ, **({"RUSTLLM_SIMD": settings.simd} if settings.simd else {})}
    common = ["-m", str(path), "-t", str(settings.threads), "-r", "1", "-o", "json"]
    common += ["--limits"] * limits

    def bench(*arguments: str) -> None:
        command = [RUSTLLM, "bench", *common, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"rustllm bench ended with {done.returncode}: {done.stderr[-2000:]}")
        ours.add(json.loads(done.stdout))

    bench("-p", str(PROMPT), "-n", str(GEN))
    for depth in settings.depths:
        bench("-p", "0", "-n", str(GEN), "-d", str(depth))
    if settings.sequences:
        bench("-p", "0", "-n", str(GEN), "-d", str(DEPTH), "-b", ",".join(map(str, settings.sequences)))


def result_name(
    day: datetime.date, machine: Machine, settings: Settings, names: Sequence[str] = (), kinds: Sequence[str] = ()
) -> str:
    """The name of the result's files: measurements of other things do not overwrite the table's."""
    name = f"{day.isoformat()}-{machine.slug}"
    if names and set(names) != set(GOALS):
        name += "-" + "-".join(names)
    name += "".join(f"-{kind}" for kind in kinds)
    if settings.threads != os.cpu_count():
        name += f"-{settings.threads}-thread{'s' * (settings.threads != 1)}"
    return name + "-deep" * bool(settings.depths)


def _write(measured: Sequence[Measured], machine: Machine, name: str) -> None:
    write_result(name, document(measured, machine, f"{name}.png"))
    plot(measured, machine, RESULTS / f"{name}.png")


def _parser() -> argparse.ArgumentParser:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",") if part)

    def names(text: str) -> tuple[str, ...]:
        return tuple(part for part in text.split(",") if part)

    parser = argparse.ArgumentParser(description=__doc__, prog="bench-compare")
    parser.add_argument("--models", type=names, default=tuple(GOALS), help="smollm2, random1b (both)")
    parser.add_argument("--types", type=names, default=(), help="such as Q4_0,F16 (all)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each engine (3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="compute threads (all cores)")
    parser.add_argument("--sequences", type=numbers, default=SEQUENCES, help="decoded together (8,16,32)")
    parser.add_argument("--depths", type=numbers, default=(), help="decode also with these in the cache (none)")
    parser.add_argument("--simd", choices=("avx2",), help="both engines without AVX-512")
    parser.add_argument("--peer", type=Path, help="a virtual environment that has the peer (.bench/peer)")
    parser.add_argument("--name", help="of the result's files (date, processor and what differs from the table)")
    return parser


if __name__ == "__main__":
    run_command(main)
