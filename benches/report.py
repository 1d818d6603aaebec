"""The document and the plot of a comparison."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.cells import DEPTH, GEN, TITLES, Cell, Measured, Rate, columns, goal

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Machine:
    """Where and how it was measured."""

    cpu: str
    threads: int
    rounds: int
    limits: dict[str, Any]
    simd: str | None = None

    @staticmethod
    def here(limits: dict[str, Any], threads: int, rounds: int, simd: str | None) -> Machine:
        """This machine."""
        info = Path("/proc/cpuinfo")
        found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
        return Machine(found.group(1) if found else platform.processor() or "cpu", threads, rounds, limits, simd)

    @property
    def slug(self) -> str:
        """A name for files."""
        return re.sub(r"[^a-z0-9]+", "-", self.cpu.lower()).strip("-") + ("" if self.simd is None else f"-{self.simd}")


def run_command(main: Callable[[], None]) -> None:
    """Runs a command; what goes wrong ends it in one line."""
    try:
        main()
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")


def write_result(name: str, text: str) -> None:
    """Writes a document to the results and prints it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {path}", flush=True)


def document(measured: Sequence[Measured], machine: Machine, picture: str) -> str:
    """The whole result in Markdown."""
    met = [item.is_met(cell) for item in measured for cell in columns(measured)]
    threads = f"{machine.threads} thread{'s' * (machine.threads != 1)}"
    parts = [
        f"# rustllm beside llama.cpp: {machine.cpu}, {threads}",
        _method(machine),
        f"Goals: {met.count(True)} met, {met.count(False)} short.",
        f"![Ratios to llama.cpp]({picture})",
    ]
    for model, title in TITLES.items():
        items = [item for item in measured if item.model == model]
        if items:
            parts += [f"## {title}", *_tables(items)]
    return "\n\n".join(parts) + "\n"


def _method(machine: Machine) -> str:
    text = (
        f"Both engines in turn on the same files, {machine.rounds} rounds; means ± deviation of the rounds, in tokens "
        f"a second. llama.cpp is the build for this machine, with flash attention on or off, whichever is faster in "
        f"the cell. Decode is {GEN} tokens; several sequences have {DEPTH} tokens in the cache when it begins, "
        f"one has none, or as many as its column says."
    )
    if machine.simd:
        text += f" Both without AVX-512 (`RUSTLLM_SIMD={machine.simd}`; llama.cpp built so)."
    if limits := machine.limits:
        text += (
            f"\n\nThe machine's limits, measured with the first rounds: memory read {limits['read'] / 1e9:.1f} GB/s, "
            f"int8 {limits['int8'] / 1e9:.0f} Gop/s, f32 {limits['f32'] / 1e9:.0f} GFLOP/s ({limits['simd']})."
        )
    return text


def _tables(items: Sequence[Measured]) -> list[str]:
    cells = columns(items)
    header = ["", *(cell.name for cell in cells)]
    return [
        "Ratio to llama.cpp (goal):\n\n" + table(header, [[i.kind, *(verdict(i, c) for c in cells)] for i in items]),
        "rustllm:\n\n" + table(header, [[i.kind, *(_rate(i.ours.get(c)) for c in cells)] for i in items]),
        "llama.cpp:\n\n" + table(header, [[i.kind, *(_rate(i.peer.get(c)) for c in cells)] for i in items]),
        "rustllm's share of the machine's limits, of memory read / of arithmetic (a cache gives more than memory):\n\n"
        + table(header, [[i.kind, *(_share(i, c) for c in cells)] for i in items]),
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def verdict(item: Measured, cell: Cell) -> str:
    """The ratio with its goal and whether it is met."""
    ratio, wanted = item.ratio(cell), goal(item.model, item.kind, cell)
    if ratio is None:
        return ""
    if wanted is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} (≥ {wanted:g}) {'met' if ratio >= wanted else '**short**'}"


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return ""
    text = f"{rate.mean:.0f} ± {rate.stddev:.0f}" if rate.mean >= 100 else f"{rate.mean:.1f} ± {rate.stddev:.1f}"
    return f"{text} {rate.setting}".rstrip()


def _share(item: Measured, cell: Cell) -> str:
    shares = item.shares.get(cell, (None, None))
    return " / ".join("-" if share is None else f"{100 * share:.0f} %" for share in shares)


def plot(measured: Sequence[Measured], machine: Machine, path: Path) -> None:
    """Bars of the ratios, a line across each at its goal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = [(title, [i for i in measured if i.model == model]) for model, title in TITLES.items()]
    groups = [(title, items) for title, items in groups if items]
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(11, 4.2 * len(groups)), squeeze=False)
    for axis, (title, items) in zip(axes[:, 0], groups, strict=True):
        cells = columns(items)
        width = 0.8 / len(cells)
        for index, cell in enumerate(cells):
            at = [place + (index - (len(cells) - 1) / 2) * width for place in range(len(items))]
            axis.bar(at, [item.ratio(cell) or 0.0 for item in items], width * 0.92, label=cell.name)
            for place, item in zip(at, items, strict=True):
                wanted = goal(item.model, item.kind, cell)
                if wanted is not None:
                    axis.plot([place - width / 2, place + width / 2], [wanted, wanted], color="black", linewidth=1.4)
        axis.axhline(1.0, color="gray", linewidth=0.8, linestyle=":")
        axis.set_xticks(range(len(items)), [item.kind for item in items])
        axis.set_ylabel("times llama.cpp's tokens/s")
        axis.set_title(f"{title}: {machine.cpu}, {machine.threads} threads (black: goal)")
        axis.legend(ncols=len(cells), fontsize=8, loc="upper left")
        axis.margins(y=0.18)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
