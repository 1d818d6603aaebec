"""How measurements are printed: a table for people, Markdown for documents, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from rustllm.bench.latency import Summary
from rustllm.bench.rows import Row

HEADER = ("model", "type", "threads", "test", "tokens/s", "of read", "of compute")

#: What clients saw of a server.
LATENCY = (
    "tokens/s",
    "steady",
    "TTFT ms p50 / p99",
    "TPOT ms p50 / p99",
    "gaps ms p50 / p99",
    "goodput/s",
)

SERVED = ("test", "requests", *LATENCY, "load's CPU s")


def cells(row: Row) -> tuple[str, ...]:
    """The columns of `HEADER`."""
    name = f"{row.test} {row.n_prompt or row.n_gen}"
    if row.n_seq > 1:
        name += f" x {row.n_seq}"
    if row.depth:
        name += f" @ {row.depth}"
    rate = f"{row.tokens_per_second:.1f} ± {row.stddev:.1f}"
    return row.model, row.type, str(row.threads), name, rate, share(row.share_of_read), share(row.share_of_compute)


def latency_cells(value: Callable[[str], Any]) -> tuple[str, ...]:
    """The columns of `LATENCY`; `value` gives a number of `Summary` by its name, or None."""
    steady = value("steady_tokens_per_second")
    times = [f"{value(f'{name}_p50'):.1f} / {value(f'{name}_p99'):.1f}" for name in ("ttft", "tpot", "itl")]
    return f"{value('tokens_per_second'):.0f}", f"{steady:.0f}" if steady else "", *times, f"{value('goodput'):.2f}"


def summary_cells(row: Summary) -> tuple[str, ...]:
    """The columns of `SERVED`."""
    seen = latency_cells(row.as_dict().get)
    return row.test, str(row.requests), *seen, f"{row.load_cpu:.2f} of {row.wall:.1f}"


def share(value: float | None) -> str:
    """A part as a percentage; nothing where it is unknown."""
    return "" if value is None else f"{100 * value:.0f} %"


def limits_line(limits: dict[str, Any]) -> str:
    """The machine's limits in one sentence."""
    return (
        f"limits of {limits['n_threads']} threads ({limits['simd']}): memory read {limits['read'] / 1e9:.1f} GB/s, "
        f"int8 {limits['int8'] / 1e9:.0f} Gop/s, f32 {limits['f32'] / 1e9:.0f} GFLOP/s"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column text, the others numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def print_rows(rows: Sequence[Row], form: str) -> None:
    """Prints all rows as `json`, `md` or `table`."""
    if form == "json":
        print(json.dumps([row.as_dict() for row in rows], indent=1))
        return
    if form == "md":
        print(markdown(HEADER, [cells(row) for row in rows]))
    else:
        print_table(HEADER, [cells(row) for row in rows])
    if rows and rows[0].limits:
        print(f"\n{limits_line(rows[0].limits)}")


def print_summaries(rows: Sequence[Summary], form: str) -> None:
    """Prints what clients saw, in the same forms."""
    if form == "json":
        print(json.dumps([row.as_dict() for row in rows], indent=1))
    elif form == "md":
        print(markdown(SERVED, [summary_cells(row) for row in rows]))
    else:
        print_table(SERVED, [summary_cells(row) for row in rows])


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # A table that is cut to the width of a terminal, or to the 80 of a pipe, would lose numbers.
    Console(highlight=False, width=200).print(table)
