"""The cells of the table: what is measured, for which files, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Tokens of a prompt and of an answer; tokens in the cache of each of several sequences.
PROMPT, GEN, DEPTH = 512, 64, 16

#: Numbers of sequences that are decoded together.
SEQUENCES = (8, 16, 32)


@dataclass(frozen=True, order=True)
class Cell:
    """One column: prefill, or decode of some sequences with some tokens in the cache."""

    phase: str
    n_seq: int = 1
    depth: int = 0

    @property
    def name(self) -> str:
        """Its heading."""
        if self.phase == "prefill":
            return f"prefill {PROMPT}"
        if self.n_seq > 1:
            return f"{self.n_seq} sequences"
        return f"decode @ {self.depth}" if self.depth else "decode 1"


def prefill() -> Cell:
    """The prompt's column."""
    return Cell("prefill")


def decode(n_seq: int = 1, depth: int = 0) -> Cell:
    """The column of `n_seq` sequences; several ones always have `DEPTH` tokens in the cache."""
    return Cell("decode", n_seq, depth if n_seq == 1 else DEPTH)


#: Rates by cell and setting (of the peer: its flash attention), one a round.
Samples = dict[tuple[Cell, str], list[float]]

#: Least ratio to the peer, of prefill, one sequence, and several.
GOALS: dict[str, dict[str, tuple[float, float, float]]] = {
    "smollm2": {
        "Q4_0": (2.0, 2.5, 2.5),
        "Q4_1": (4.0, 3.0, 4.0),
        "Q4_K_M": (3.0, 2.5, 3.0),
        "Q5_K_M": (3.0, 2.5, 3.0),
        "Q8_0": (3.0, 1.8, 3.0),
        "Q6_K": (3.0, 1.8, 3.0),
        "F16": (1.3, 1.3, 1.3),
        "F32": (1.3, 1.3, 1.3),
    },
    "random1b": {
        "Q4_0": (2.0, 1.05, 2.0),
        "Q4_K_M": (2.0, 1.05, 2.0),
        "Q4_1": (5.0, 1.5, 3.0),
        "Q6_K": (1.5, 1.1, 1.5),
        "Q8_0": (3.0, 1.05, 2.5),
    },
}

TITLES = {"smollm2": "SmolLM2-135M", "random1b": "random 1.1B"}


def goal(model: str, kind: str, cell: Cell) -> float | None:
    """The least ratio wanted; that of one sequence counts at any depth."""
    found = GOALS.get(model, {}).get(kind)
    if found is None:
        return None
    return found[0] if cell.phase == "prefill" else found[1] if cell.n_seq == 1 else found[2]


@dataclass(frozen=True)
class Rate:
    """A mean over rounds, with the setting that it was reached with."""

    mean: float
    stddev: float
    setting: str = ""


def merge(into: Samples, more: Samples) -> None:
    """Adds the rates of a round."""
    for key, values in more.items():
        into.setdefault(key, []).extend(values)


def best(samples: Samples) -> dict[Cell, Rate]:
    """The rate of each cell with its best setting."""
    out: dict[Cell, Rate] = {}
    for (cell, setting), values in samples.items():
        rate = Rate(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, setting)
        if cell not in out or rate.mean > out[cell].mean:
            out[cell] = rate
    return out


@dataclass(frozen=True)
class Measured:
    """A file in both engines."""

    model: str
    kind: str
    ours: Mapping[Cell, Rate]
    peer: Mapping[Cell, Rate]
    #: Percentages of the machine's limits, by cell: of memory read and of arithmetic.
    shares: Mapping[Cell, tuple[float | None, float | None]]

    def ratio(self, cell: Cell) -> float | None:
        """How many times the peer's rate ours is; None where one of them is not measured."""
        if cell not in self.ours or cell not in self.peer:
            return None
        return self.ours[cell].mean / self.peer[cell].mean

    def is_met(self, cell: Cell) -> bool | None:
        """Whether the goal is reached; None without a goal or a ratio."""
        ratio, wanted = self.ratio(cell), goal(self.model, self.kind, cell)
        return None if ratio is None or wanted is None else ratio >= wanted


def columns(measured: Sequence[Measured]) -> list[Cell]:
    """All cells that were measured, prefill first, then decode by sequences and depth."""
    cells = {cell for item in measured for cell in item.ours}
    return sorted(cells, key=lambda cell: (cell.phase != "prefill", cell.n_seq, cell.depth))
