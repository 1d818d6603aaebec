"""How measurements are printed: a table for people, Markdown for documents, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rustllm.bench.rows import Row

HEADER = ("model", "type", "threads", "test", "tokens/s", "of read", "of compute")


def cells(row: Row) -> tuple[str, ...]:
    """The columns of `HEADER`."""
    name = f"{row.test} {row.n_prompt or row.n_gen}"
    if row.n_seq > 1:
        name += f" × {row.n_seq}"
    if row.depth:
        name += f" @ {row.depth}"
    rate = f"{row.tokens_per_second:.1f} ± {row.stddev:.1f}"
    return row.model, row.type, str(row.threads), name, rate, share(row.share_of_read), share(row.share_of_compute)


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
    console = Console(highlight=False)
    # A table that is cut to the width of a pipe would lose numbers.
    console.print(table, width=None if console.is_terminal else 200)
