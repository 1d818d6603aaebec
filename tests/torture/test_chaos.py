"""What happens to servers: clients leave or stop reading, signals come, disks fill up, memory ends, clocks jump."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.attack import (
    LONG, GOOD, bits, error_of, idle, n_files, n_threads, resident_bytes, settles, witness,
)  # fmt: skip
from tests.support.server import Server, as_messages, running
from tests.torture.conftest import Report

TEXT = "Once upon a time there was a little dog who loved to play with a big red ball in the park. " * 3
OTHER = "Lily and Ben went to the park. They saw a big red slide and a small blue swing. " * 3
ENDLESS = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}


def head(length: int, path: str = "/completion") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def request(body: dict[str, Any], path: str = "/completion") -> bytes:
    """A whole request as bytes."""
    data = json.dumps(body).encode()
    return head(len(data), path) + data


def connect(server: Server, receive: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.port))
    return client


#: Where a client leaves: what it has sent by then, and how often it has read.
PHASES: dict[str, tuple[bytes, int]] = {
    "connected": (b"", 0),
    "in its headers": (b"POST /completion HTT", 0),
    "before its body": (head(100), 0),
    "in its body": (head(100) + b'{"prompt": ', 0),
    "a byte before the end": (request(ENDLESS)[:-1], 0),
    "in the queue or prefill": (request({**ENDLESS, "prompt": TEXT * 3}), 0),
    "waiting for a whole answer": (request({**ENDLESS, "stream": False}), 0),
    "at the first event": (request(ENDLESS), 1),
    "in the stream": (request(ENDLESS), 20),
    "in a chat": (request({"messages": as_messages("Hey"), "stream": True, "ignore_eos": True}, "/v1/chat/completions"), 3),
    "in another API": (request({"messages": as_messages("Hey"), "max_tokens": 900, "stream": True}, "/v1/messages"), 3),
    "while a text is cut into tokens": (request({"content": "a b " * 100_000}, "/tokenize"), 0),
    "while texts are embedded": (request({"input": ["the dog " * 50] * 64}, "/v1/embeddings"), 0),
}  # fmt: skip


@pytest.mark.timeout(900)
def test_clients_that_leave_in_every_phase(report: Report) -> None:
    n_clients = 1000 if LONG else 130
    flags = ("-c", "2048", "-np", "2", "--embeddings", "--pooling", "mean", "-lv", "1")
    for server in running(*flags):
        good = witness(server)
        phases = [*PHASES.values()]

        def leave(number: int) -> None:
            sent, reads = phases[number % len(phases)]  # noqa: B023
            with connect(server) as client:  # noqa: B023
                client.sendall(sent)
                for _ in range(reads):
                    client.recv(100)
                if number % 3 == 0:  # by a reset rather than an end
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        def storm(n: int) -> None:
            with ThreadPoolExecutor(8) as pool, good.watching():  # noqa: B023
                list(pool.map(leave, range(n)))  # noqa: B023
            assert idle(server), "a slot is held for a client who is gone"  # noqa: B023

        storm(len(phases) * 8)
        pid = server.process.pid
        before = (resident_bytes(pid), n_files(pid), n_threads(pid))
        storm(n_clients)
        assert settles(lambda: n_files(pid), before[1]) <= before[1]  # noqa: B023
        assert n_threads(pid) <= before[2]
        growth = settles(lambda: resident_bytes(pid) - before[0], 2_000_000)  # noqa: B023
        report.add("clients that leave", n_clients, growth=int(growth))
        assert growth <= (2_000_000 if LONG else 6_000_000)


def test_readers_who_stop_hold_little_and_slow_nobody(report: Report) -> None:
    readers = 16 if LONG else 6
    # Each token has some 20 kB of probabilities.
    body = {**ENDLESS, "n_probs": 500}
    for server in running("-c", "8192", "-np", "8", "--context-shift", "--timeout", "3", "-lv", "1"):
        good = witness(server)
        alone = min(took(server) for _ in range(10))
        before = most = resident_bytes(server.process.pid)
        clients = [connect(server, receive=4096) for _ in range(readers)]
        try:
            with good.watching():
                for client in clients:
                    client.sendall(request(body))
                beside = []
                until = time.monotonic() + 4
                while time.monotonic() < until:
                    beside.append(took(server))
                    most = max(most, resident_bytes(server.process.pid))
                # Past 4 MiB, or three seconds, their connections are cut.
                assert idle(server, 15)
        finally:
            for client in clients:
                client.close()
        beside.sort()
        report.add("slow readers", readers, growth=most - before)
        report.note(f"beside {readers} readers who stop: a request took {1e3 * beside[len(beside) // 2]:.0f} ms, "
                    f"alone {1e3 * alone:.0f} ms")  # fmt: skip
        # What a connection may leave unread, and what waits between the engine and the loop.
        assert most - before < readers * 5_000_000 + 30_000_000
        assert beside[len(beside) // 2] < 1.0


def took(server: Server) -> float:
    """Seconds of a good request."""
    began = time.monotonic()
    assert server.post("/completion", GOOD).status == 200
    return time.monotonic() - began


class Reader(threading.Thread):
    """Reads a stream to its end and keeps its events."""

    def __init__(self, server: Server, body: dict[str, Any], path: str = "/completion") -> None:
        super().__init__(daemon=True)
        self.server, self.body, self.path = server, body, path
        self.begun = threading.Event()
        self.status = 0
        self.events: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with (
                httpx.Client(base_url=self.server.url, timeout=60) as client,
                client.stream("POST", self.path, json=self.body) as answer,
            ):
                self.status = answer.status_code
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        self.events.append(json.loads(line[6:]))
                        self.begun.set()
                    elif line.startswith("{"):  # no stream but an error
                        self.events.append(json.loads(line))
        except httpx.TransportError as error:
            self.failure = error
        self.begun.set()

    @property
    def is_whole(self) -> bool:
        """Whether it has been told how it ended."""
        last = self.events[-1] if self.events else {}
        return self.failure is None and (bool(last.get("stop")) or "error" in last)


@pytest.mark.parametrize("round_", range(10 if LONG else 2))
def test_sigterm_under_load_drains(round_: int, report: Report) -> None:
    server = Server("-c", "1024", "-np", "2").wait()
    body = {**ENDLESS, "n_predict": 200, "seed": 1}
    readers = [Reader(server, body) for _ in range(12)]  # ten of them wait for a slot
    readers[0].begun.wait(20)
    time.sleep(0.01 * round_)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=40) == 0
    for reader in readers:
        reader.join(20)
        # Those who had not been heard yet see a closed door and no cut stream.
        assert reader.is_whole or not reader.events, (reader.failure, reader.events[-1:])
    assert sum(bool(reader.events and reader.events[-1].get("stop")) for reader in readers) >= 2
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


def test_a_machine_that_is_suspended(report: Report) -> None:
    for server in running("-c", "1024", "-np", "2", "-lv", "1"):
        want = Reader(server, {**ENDLESS, "n_predict": 200, "seed": 1})
        want.join(20)
        reader = Reader(server, {**ENDLESS, "n_predict": 200, "seed": 1})
        reader.begun.wait(20)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        server.process.send_signal(signal.SIGCONT)
        reader.join(20)
        assert [event["content"] for event in reader.events] == [event["content"] for event in want.events]
        assert server.get("/health").status == 200
    report.add("suspended", 1)


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
        time.sleep(drawn.uniform(0.02, 0.2))
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


def fill_the_disk(directory: Path, limit: Any, report: Report) -> None:
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


def test_memory_that_ends_is_an_error_or_an_end(report: Report) -> None:
    """Where no memory is left, requests fail in order or the process ends for its supervisor; it never hangs."""
    tries = 0
    server = Server("-c", "512", "-np", "2", "-lv", "1").wait()
    try:
        want = bits(server.post("/completion", GOOD))
        lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        size = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
        _, most = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (size + 24_000_000, most))
        for _ in range(30 if LONG else 8):
            for body in (b'{"prompt": "' + b"a b " * 5_000_000 + b'"}', b'{"prompt": [' + b"5," * 3_000_000 + b"5]}"):
                with suppress(httpx.TransportError):
                    answer = server.post("/completion", content=body)
                    assert answer.status in (400, 413, 500, 503), answer.body
                    error_of(answer)
                tries += 1
            if server.process.poll() is not None:
                break
        if server.process.poll() is None:
            resource.prlimit(server.process.pid, resource.RLIMIT_AS, (most, most))
            assert bits(server.post("/completion", GOOD)) == want
            report.note(f"of {tries} requests without memory, none ended the server")
        else:
            assert server.process.returncode != 0
            report.note(f"without memory, the process ended after {tries} requests (status {server.process.returncode})")
        report.add("out of memory", tries)
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0


#: A clock that jumps by hours, forth and back, every few looks at it; the monotonic one goes on.
JUMPS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) { static unsigned n; return ((n++ / 7) % 3 - 1L) * 7200; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += jump();
    return status;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="the clock is made with a C compiler")
def test_a_clock_that_jumps(tmp_path: Path, report: Report) -> None:
    (tmp_path / "jumps.c").write_text(JUMPS)
    library = tmp_path / "jumps.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "jumps.c", "-ldl"], check=True)
    for plain in running("-c", "1024", "-np", "2", "-lv", "1"):
        want = bits(plain.post("/completion", GOOD))
    tries = 300 if LONG else 30
    env = {"LD_PRELOAD": str(library)}
    for server in running("-c", "1024", "-np", "2", "--timeout", "5", "-lv", "1", env=env):
        seen = {server.chat("Hey", max_tokens=1).body["created"] for _ in range(20)}
        assert max(seen) - min(seen) > 3600, "the clock does not jump"
        for number in range(tries):
            if number % 3 == 0:
                headers = {"X-Conversation-Id": f"c{number % 9}"}
                with server.client.stream("POST", "/completion", json={**ENDLESS, "n_predict": 60}, headers=headers) as got:
                    assert '"stop":true' in [line for line in got.iter_lines() if line][-1]
            assert bits(server.post("/completion", GOOD)) == want
        timings = server.post("/completion", GOOD).body["timings"]
        assert 0 <= timings["prompt_ms"] < 5000
        assert 0 <= timings["predicted_ms"] < 5000
        with connect(server) as client:  # time limits hold as well
            client.sendall(b"POST /comp")
            began = time.monotonic()
            assert b"408" in client.recv(1000)
            assert 4 < time.monotonic() - began < 9
        report.add("a clock that jumps", tries)


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


def test_a_forged_slot_breaks_its_own_request_only(tmp_path: Path, report: Report) -> None:
    """Keys and values that are no numbers stand for a kernel that fails: they reach the sampler."""
    tries = 200 if LONG else 20
    for server in running("-c", "1024", "-np", "2", "--slot-save-path", str(tmp_path), "-lv", "1"):
        # A text of which the witness has nothing but the first token in common.
        assert server.post("/completion", {"prompt": OTHER, "n_predict": 4, "id_slot": 1}).status == 200
        assert server.post("/slots/1?action=save", {"filename": "good"}).status == 200
        forge(tmp_path / "good", tmp_path / "forged")
        good = witness(server)
        statuses = set()
        with good.watching():
            for _ in range(tries):
                assert server.post("/slots/1?action=erase").status == 200
                assert server.post("/slots/1?action=restore", {"filename": "forged"}).status == 200
                answer = server.post("/completion", {"prompt": OTHER, "n_predict": 4, "id_slot": 1})
                assert answer.status in (200, 500), answer.body
                statuses.add(answer.status)
                if answer.status == 500:
                    error_of(answer)
        assert idle(server)
        report.add("a fault inside", tries)
        report.note(f"numbers that are none in the cache got {sorted(statuses)}")


def forge(source: Path, target: Path) -> None:
    """A slot's file with numbers that are none, and a checksum that is right."""
    data = source.read_bytes()
    start = 40 + 4 * int.from_bytes(data[32:36], "little")
    forged = data[:start] + b"\xff\x7f" * ((len(data) - start - 8) // 2)
    value = 0xCBF29CE484222325
    for byte in forged:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    target.write_bytes(forged + value.to_bytes(8, "little"))


