"""Mixed traffic against a server for some time: all endpoints, clients that leave, errors. Afterwards memory, threads
and open files must be where they were, and answers the same.

    python scripts/soak.py --seconds 3600 --clients 8
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.attack import (  # noqa: E402 (the path has to be there first)
    Witness,
    idle,
    n_files,
    n_threads,
    resident_bytes,
    settles,
    witness,
)
from tests.support.server import Server  # noqa: E402
from tests.support.traffic import FLAGS, Client, not_asked  # noqa: E402

#: What is filled once is filled in the first three tenths; a leak goes on. So the medians of the next two tenths and of
#: the last two are compared.
EARLY, LATE = slice(3, 5), slice(8, 10)

#: What the later median may have more. Memory is what was measured, and as much again; a pool of threads gets another
#: one where more have to do at once than ever before.
LIMITS = {"resident": 2_000_000, "threads": 1, "files": 2}


@dataclass
class Sample:
    """What the process holds at one time."""

    seconds: float
    resident: int
    threads: int
    files: int


@dataclass
class Soak:
    """A run and what came of it."""

    server: Server
    clients: list[Client]
    good: Witness
    #: Open files without any client.
    files_before: int
    files_after: int = 0
    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Lets the clients work."""
        ends = threading.Event()
        threads = [threading.Thread(target=client.work, args=(ends,)) for client in self.clients]
        try:
            with self.good.watching(pause=0.1):
                for thread in threads:
                    thread.start()
                self._watch(seconds)
                ends.set()
                for thread in threads:
                    thread.join()
        except AssertionError as error:
            self.faults.append(f"the client of good will: {error}")
        finally:
            ends.set()
        if self.server.process.poll() is not None:
            return
        if not idle(self.server):
            self.faults.append("a slot is held after the last request")
        pid = self.server.process.pid
        self.files_after = int(settles(lambda: n_files(pid), self.files_before))
        if self.files_after > self.files_before:
            self.faults.append(f"{self.files_after} files are open without any client, {self.files_before} before")

    def _watch(self, seconds: float) -> None:
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds and self.server.process.poll() is None:
            pid = self.server.process.pid
            self.samples.append(Sample(now, resident_bytes(pid), n_threads(pid), n_files(pid)))
            time.sleep(min(1.0, seconds / 50))

    def judge(self, document: dict[str, Any]) -> None:
        """Adds what is wrong of the answers and of the samples to the faults."""
        wrong: Counter[str] = sum((client.faults for client in self.clients), Counter())
        self.faults += [f"{number} times {text}" for text, number in wrong.most_common(20)]
        self.faults += [f"the soak has no answer of {text}" for text in not_asked(document, self.answers)]
        for what, limit in LIMITS.items():
            early, late = self.middle(what, EARLY), self.middle(what, LATE)
            if late - early > limit:
                self.faults.append(f"{what}: {late}, before {early}; allowed: {limit} more")

    @property
    def answers(self) -> Counter[tuple[str, str, int]]:
        """Answers by method, path and status."""
        return sum((client.answers for client in self.clients), Counter())

    def middle(self, what: str, tenths: slice) -> int:
        """The median of some tenths of the samples."""
        n = len(self.samples)
        part = self.samples[tenths.start * n // 10 : tenths.stop * n // 10]
        return int(median(getattr(sample, what) for sample in part))

    def change(self, what: str, unit: float = 1) -> str:
        """Both medians, in words."""
        return " -> ".join(f"{self.middle(what, part) / unit:.{0 if unit == 1 else 1}f}" for part in (EARLY, LATE))

    def summary(self) -> str:
        """All of it in a line."""
        first = self.samples[EARLY.start * len(self.samples) // 10].seconds
        return (
            f"{self.answers.total()} requests of {len(self.clients)} clients in {self.samples[-1].seconds:.0f} s, and "
            f"{self.good.n_served} of the same answer; after {first:.0f} s and at the end: memory "
            f"{self.change('resident', 1e6)} MB, threads {self.change('threads')}, open files {self.change('files')}, "
            f"without clients {self.files_before} -> {self.files_after}"
        )


def soak(seconds: float, n_clients: int, seed: int) -> int:
    """Runs it and says what it saw; 0 where all is flat."""
    with tempfile.TemporaryDirectory() as slots:
        server = Server("-c", "4096", "-np", "4", *FLAGS, "--slot-save-path", slots, "-lv", "1").wait()
        try:
            document = server.get("/openapi.json").body
            good = witness(server)
            clients = [Client(server.url, number, random.Random(seed + number)) for number in range(n_clients)]
            found = Soak(server, clients, good, n_files(server.process.pid))
            found.run(seconds)
        finally:
            status = server.stop()
    if status:
        found.faults.append(f"the server ended with {status}")
    found.judge(document)
    for (method, path, answer), number in sorted(found.answers.items()):
        print(f"{number:8d}  {method} {path} {answer}")
    print(found.summary())
    for fault in found.faults:
        print(f"FAULT: {fault}")
    return 1 if found.faults else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.seconds < 60:
        parser.error("--seconds: at least 60 are needed until what is filled once is filled")
    return soak(arguments.seconds, arguments.clients, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
