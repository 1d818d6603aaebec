"""What the runs of this folder count, for the table of `docs/reliability.md`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest


class Report:
    """How often each class was tried, and what it left behind."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.growth: dict[str, int] = {}
        self.notes: list[str] = []

    def add(self, kind: str, tries: int, growth: int = 0) -> None:
        """A test of a class has had so many tries."""
        self.rows[kind] += 1
        self.tries[kind] += tries
        self.growth[kind] = max(growth, self.growth.get(kind, growth))

    def note(self, text: str) -> None:
        """A measured number, in words."""
        self.notes.append(text)

    def lines(self) -> Iterator[str]:
        """The report."""
        for kind, tries in self.tries.items():
            growth = f", memory {self.growth[kind] / 1e6:+.1f} MB at most"
            yield f"{kind}: {self.rows[kind]} tests, {tries} tries{growth}"
        yield from self.notes


_REPORT = Report()


@pytest.fixture(scope="session")
def report() -> Report:
    return _REPORT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _REPORT.tries or _REPORT.notes:
        terminalreporter.section("tries")
        for line in _REPORT.lines():
            terminalreporter.write_line(line)
