"""What happens to servers: clients leave or stop reading, memory ends, machines sleep, clocks jump."""

from __future__ import annotations

import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.attack import (
    GOOD,
    LONG,
    bits,
    error_of,
    idle,
    n_files,
    n_threads,
    resident_bytes,
    settles,
    witness,
)
from tests.support.crowd import ENDLESS, TEXT, Reader, connect, head, request
from tests.support.server import Server, as_messages, running
from tests.support.slot_files import forge
from tests.torture.conftest import Report

#: It has nothing but the first token in common with what a witness asks.
OTHER = "Lily and Ben went to the park. They saw a big red slide and a small blue swing. " * 3

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
    "in a chat": (request({"messages": as_messages("Hey"), "stream": True, "n": 2}, "/v1/chat/completions"), 3),
    "in another API": (request({"messages": as_messages("Hey"), "max_tokens": 900, "stream": True}, "/v1/messages"), 3),
    "while a text is cut into tokens": (request({"content": "a b " * 5000}, "/tokenize"), 0),
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
                list(pool.map(leave, range(n)))
            assert idle(server), "a slot is held for a client who is gone"  # noqa: B023

        # What is filled once, such as the buffers of each thread, is filled by the first ones.
        storm(n_clients)
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
        with good.watching():
            alone = middle([took(server) for _ in range(20)])
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
        report.add("slow readers", readers, growth=most - before)
        report.note(f"beside {readers} readers who stop: a request took {1e3 * middle(beside):.0f} ms, "
                    f"{1e3 * max(beside):.0f} ms at most, alone {1e3 * alone:.0f} ms")  # fmt: skip
        # What a connection may leave unread, and what waits between the engine and the loop.
        assert most - before < readers * 5_000_000 + 30_000_000
        # Other work may keep a busy machine for some 50 ms. Until buffers are full, the first requests wait for what
        # is made for the readers.
        assert middle(beside) < 5 * alone + 0.05
        assert max(beside) < 5 * alone + 3.0


def test_answers_that_are_made_faster_than_written_hold_little_and_let_others_in(report: Report) -> None:
    """Six streams with hundreds of probabilities a token, which Python writes slower than they are drawn."""
    seconds = 60 if LONG else 5
    for server in running("-c", "8192", "-np", "8", "--context-shift", "-lv", "1"):
        good = witness(server)
        before = most = resident_bytes(server.process.pid)
        clients = [connect(server) for _ in range(6)]
        ends = threading.Event()

        def swallow(client: socket.socket) -> int:
            size = 0
            while not ends.is_set():  # noqa: B023
                data = client.recv(1 << 20)
                if not data:
                    break  # on a busy machine it may be the reader who is too slow
                size += len(data)
            return size

        with ThreadPoolExecutor(6) as pool:
            for client in clients:
                client.sendall(request({**ENDLESS, "n_probs": 500}))
            sizes = [pool.submit(swallow, client) for client in clients]
            beside = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                beside.append(took(server))
                most = max(most, resident_bytes(server.process.pid))
            ends.set()
            n_bytes = sum(size.result(20) for size in sizes)
        for client in clients:
            client.close()
        assert idle(server)
        good.ask(server.client)
        assert not good.wrong
        report.add("streams that Python cannot keep up with", 6, growth=most - before)
        report.note(
            f"beside 6 streams of {n_bytes / 1e6 / seconds:.0f} MB/s in all, a request took "
            f"{1e3 * middle(beside):.0f} ms, {1e3 * max(beside):.0f} ms at most"
        )
        assert n_bytes > 6 * 4_000_000
        assert most - before < 60_000_000
        assert middle(beside) < 2.0


def middle(seconds: list[float]) -> float:
    """The median."""
    return sorted(seconds)[len(seconds) // 2]


def took(server: Server) -> float:
    """Seconds of a good request."""
    began = time.monotonic()
    assert server.post("/completion", GOOD).status == 200
    return time.monotonic() - began


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
            report.note(
                f"without memory, the process ended after {tries} requests (status {server.process.returncode})"
            )
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
                with server.client.stream(
                    "POST", "/completion", json={**ENDLESS, "n_predict": 60}, headers=headers
                ) as got:
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


def test_a_forged_slot_is_refused(tmp_path: Path, report: Report) -> None:
    """Keys and values that are no numbers, under a checksum that is right, reach no answer."""
    tries = 200 if LONG else 20
    for server in running("-c", "1024", "-np", "2", "--slot-save-path", str(tmp_path), "-lv", "1"):
        # A text of which the witness has nothing but the first token in common.
        prompt = {"prompt": OTHER, "n_predict": 4, "n_probs": 2, "temperature": 0, "id_slot": 1}
        want = server.post("/completion", prompt)
        assert server.post("/slots/1?action=save", {"filename": "good"}).status == 200
        forge(tmp_path / "good", tmp_path / "forged")
        good = witness(server)
        with good.watching():
            for _ in range(tries):
                assert server.post("/slots/1?action=erase").status == 200
                refused = server.post("/slots/1?action=restore", {"filename": "forged"})
                assert refused.status == 400, refused.body
                assert "no numbers" in error_of(refused)[0]
                assert bits(server.post("/completion", prompt)) == bits(want)
        assert idle(server)
        report.add("a forged slot's file", tries)
