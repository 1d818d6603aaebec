"""What a run shows: a bar for whoever watches, and a summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rustllm.batch.run import Counts


class Watch:
    """The counts of a run with its time, and the bar that shows them."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._began = time.perf_counter()
        console = Console(stderr=True)
        # Pipes and logs get the summary alone.
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=counts.total, **self._fields())

    @contextmanager
    def shown(self) -> Iterator[Watch]:
        """Shows the bar."""
        self._began = time.perf_counter()
        with self._progress:
            yield self

    def changed(self) -> None:
        """The counts have changed."""
        self._progress.update(self._task, **self._fields())

    def _fields(self) -> dict[str, Any]:
        return {"completed": self.counts.done, "failed": self.counts.failed, "rate": self._rate(self._seconds())}

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _rate(self, seconds: float) -> float:
        return self.counts.completion_tokens / seconds if seconds > 0 else 0.0

    def summary(self, output: Path, errors: Path | None, interrupted: bool) -> dict[str, Any]:
        """What came of the run, for programs. Counts are of the whole batch, tokens and times of this run."""
        seconds = self._seconds()
        counts = self.counts
        return {
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(self._rate(seconds), 1),
            "interrupted": interrupted,
            "output": str(output),
            "errors": None if errors is None else str(errors),
        }


def sentence(summary: dict[str, Any]) -> str:
    """The summary for people."""
    before = f", {summary['skipped']:,} of them before this run" if summary["skipped"] else ""
    done = summary["completed"] + summary["failed"]
    return (
        f"{done:,} of {summary['total']:,} requests done, {summary['failed']:,} failed{before}; "
        f"{summary['prompt_tokens']:,} prompt tokens, {summary['completion_tokens']:,} generated in "
        f"{summary['seconds']:.1f} s ({summary['tokens_per_second']:,.0f} tokens/s)"
    )
