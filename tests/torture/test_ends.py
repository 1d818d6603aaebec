"""How servers end, and what they leave: signals under load, a kill while a file is written, a disk that is full."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.apis import APIS
from tests.support.attack import GOOD, LONG, bits, error_of, metric, settles, witness
from tests.support.crowd import ENDLESS, TEXT, Reader
from tests.support.server import Server, running
from tests.torture.conftest import Report


@pytest.mark.parametrize("round_", range(10 if LONG else 2))
def test_sigterm_under_load_drains(round_: int, report: Report) -> None:
    server = Server("-c", "1024", "-np", "2", "--metrics").wait()
    readers = [Reader(server, api.stream("Once upon a time", 400), api) for api in APIS * 2]  # two of them have slots

    def n_unheard() -> float:
        n_begun = sum(reader.begun.is_set() for reader in readers)
        return len(readers) - n_begun - metric(server, "llamacpp:requests_deferred")

    assert settles(n_unheard, 0, 20, pause=0) == 0
    time.sleep(0.01 * round_)
    assert not all(reader.is_complete for reader in readers), "there is no load any more"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=40) == 0
    for reader in readers:
        reader.join(20)
        assert reader.is_complete, (reader.api.path, reader.failure, reader.events[-1:])
    server.client.close()
    server.log.close()
    report.add("SIGTERM under load", 1)


@pytest.mark.skipif(not LONG, reason="it takes half a minute")
def test_answers_that_do_not_end_are_told_so(report: Report) -> None:
    server = Server("-c", "256", "-np", "2", "--context-shift").wait()
    readers = [Reader(server, ENDLESS) for _ in range(4)]
    readers[0].begun.wait(20)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
    for reader in readers:
        reader.join(20)
        assert reader.is_whole or not reader.events, (reader.failure, reader.events[-1:])
    assert any("error" in reader.events[-1] for reader in readers if reader.events)
    server.client.close()
    server.log.close()
    report.add("SIGTERM under load", 1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE])
def test_signals_that_mean_nothing_to_it(number: signal.Signals, report: Report) -> None:
    server = Server("-c", "512", "-lv", "1").wait()
    try:
        server.process.send_signal(number)
        time.sleep(0.2)
        if server.process.poll() is None:
            assert bits(server.post("/completion", GOOD))
        else:  # the system's own answer to it
            assert server.process.returncode == -number
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0
    report.add("signals", 1)


def test_a_kill_while_slots_are_saved_leaves_whole_files(tmp_path: Path, report: Report) -> None:
    rounds = 40 if LONG else 3
    drawn = random.Random(0)
    flags = ("-c", "2048", "-np", "1", "--slot-save-path", str(tmp_path), "-lv", "1")
    n_cut = 0
    for _ in range(rounds):
        server = Server(*flags).wait()
        assert server.post("/completion", {"prompt": TEXT * 12, "n_predict": 4}).status == 200
        ends = threading.Event()

        def save() -> None:
            number = 0
            with suppress(httpx.TransportError), httpx.Client(base_url=server.url, timeout=20) as client:  # noqa: B023
                while not ends.is_set():  # noqa: B023
                    client.post("/slots/0?action=save", json={"filename": f"f{number % 3}"})
                    number += 1

        thread = threading.Thread(target=save)
        thread.start()
        time.sleep(drawn.uniform(0.02, 0.1))
        # The file that is being written has another name.
        settles(lambda: all(name.startswith("f") for name in os.listdir(tmp_path)), 0, seconds=2, pause=0)
        server.process.kill()
        server.process.wait()
        ends.set()
        thread.join()
        server.client.close()
        server.log.close()
        names = sorted(path.name for path in tmp_path.iterdir())
        n_cut += any(not name.startswith("f") for name in names)
        # Another server takes all that stands under a name.
        for again in running(*flags):
            for name in names:
                if name.startswith("f"):
                    answer = again.post("/slots/0?action=restore", {"filename": name})
                    assert (answer.status, answer.body["n_restored"] > 500) == (200, True), answer.body
            assert again.post("/slots/0?action=save", {"filename": "f0"}).status == 200
        for path in tmp_path.iterdir():
            path.unlink()
    report.add("SIGKILL while saving", rounds)
    report.note(f"of {rounds} kills while saving, {n_cut} came in the middle of a file")


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A directory that holds 300 kB, which takes root; CalledProcessError where that is not to be had."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(path)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True, capture_output=True)


def test_a_full_disk_is_an_error_of_its_request(tmp_path: Path, report: Report) -> None:
    try:
        with small_disk(tmp_path):
            fill_the_disk(tmp_path, lambda _: None, report)
    except subprocess.CalledProcessError:
        # The kernel refuses longer files just the same.
        def limit(server: Server) -> None:
            _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (300_000, most))

        fill_the_disk(tmp_path, limit, report)


def fill_the_disk(directory: Path, limit: Callable[[Server], None], report: Report) -> None:
    """Saves what fits and what does not."""
    for server in running("-c", "2048", "-np", "1", "--slot-save-path", str(directory), "-lv", "1"):
        limit(server)
        good = witness(server)
        tries = 200 if LONG else 5
        assert server.post("/slots/0?action=save", {"filename": "small"}).status == 200
        small = (directory / "small").read_bytes()
        assert server.post("/completion", {"prompt": TEXT * 12, "n_predict": 4}).status == 200
        for number in range(tries):
            answer = server.post("/slots/0?action=save", {"filename": ("small", "new")[number % 2]})
            assert answer.status == 500, answer.body
            message, _ = error_of(answer)
            assert "cannot be saved" in message
            assert str(directory) not in message
            assert sorted(path.name for path in directory.iterdir()) == ["small"]
        assert (directory / "small").read_bytes() == small
        assert server.post("/slots/0?action=restore", {"filename": "small"}).status == 200
        good.ask(server.client)
        assert not good.wrong
        report.add("disk full", tries)
