"""Clients who make the server hold large bodies: memory is bounded, small requests are served as before."""

from __future__ import annotations

import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rustllm.server.held_bodies import FREE_BYTES
from tests.support.attack import LONG, Witness, error_of, idle, metric, resident_bytes, settles, witness
from tests.support.crowd import connect, head
from tests.support.server import Server, running
from tests.torture.conftest import Report

MIB = 1 << 20
#: What all may hold together. A body is a quarter of it, so that four of them have room.
MOST = (128 if LONG else 32) * MIB
CLIENTS = 48 if LONG else 24
ROUNDS = 5 if LONG else 1
#: What a connection may have that has been read of it and not been taken yet.
UNTAKEN_BYTES = 320 << 10

PATH = "/v1/responses"


def body(size: int, **fields: object) -> bytes:
    """A request of so many bytes, most of them in a text that is kept until its answer is complete."""
    rest = len(json.dumps({**fields, "user": ""}))
    return json.dumps({**fields, "user": "a" * (size - rest)}).encode()


def send_slowly(clients: list[socket.socket], data: bytes, path: str) -> Iterator[None]:
    """All send at once, a piece each, but for the last byte; who is refused goes on sending."""
    for client in clients:
        client.sendall(head(len(data), path))
    for at in range(0, len(data) - 1, MIB):
        for client in clients:
            client.sendall(data[at : min(at + MIB, len(data) - 1)])
        yield


def send_whole(clients: list[socket.socket], data: bytes, path: str) -> Iterator[None]:
    """One after the other sends all, and then waits for its answer."""
    for client in clients:
        client.sendall(head(len(data), path) + data)
        yield


def read_statuses(clients: list[socket.socket], found: dict[socket.socket, int]) -> None:
    """Adds what has come for those who had no answer yet."""
    ready, _, _ = select.select([client for client in clients if client not in found], (), (), 0)
    for client in ready:
        found[client] = int(client.recv(100).split()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = ("-c", "8192", "-np", "8", "--context-shift", "--metrics", "-lv", "1")
    yield from running(*flags, "--max-all-bodies-bytes", str(MOST))


@pytest.fixture(scope="module")
def good(server: Server) -> Witness:
    return witness(server)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("send", "fields", "n_begun"),
    [(send_slowly, {}, 0), (send_whole, {"ignore_eos": True}, 0), (send_whole, {"ignore_eos": True, "stream": True}, 4)],
    ids=["sent slowly", "whole answers", "streams"],
)
def test_bodies_that_are_held(
    server: Server,
    good: Witness,
    send: Callable[[list[socket.socket], bytes, str], Iterator[None]],
    fields: dict[str, object],
    n_begun: int,
    report: Report,
) -> None:
    """`n_begun` of the answers begin before they are complete."""
    large = body(MOST // 4, input="Once", **fields)
    last = body(MOST // 4, input="Once", max_output_tokens=2)
    pid = server.process.pid
    before = most = resident_bytes(pid)

    def n_held() -> float:
        return metric(server, "rustllm:held_body_bytes")

    for _ in range(ROUNDS):
        with ExitStack() as stack, good.watching():
            clients = [stack.enter_context(connect(server)) for _ in range(CLIENTS)]
            found: dict[socket.socket, int] = {}
            for _ in send(clients, large, PATH):
                most = max(most, resident_bytes(pid))
                assert n_held() <= MOST
                read_statuses(clients, found)
            deadline = time.monotonic() + 20
            while len(found) < CLIENTS - 4 + n_begun and time.monotonic() < deadline:
                most = max(most, resident_bytes(pid))
                read_statuses(clients, found)
            assert Counter(found.values()) == Counter({503: CLIENTS - 4, 200: n_begun})
            assert n_held() > MOST - 4 * FREE_BYTES - 8
            refused = server.post(PATH, content=last)
            assert refused.status == 503
            assert error_of(refused)[0].endswith(f"allowed: up to {MOST} bytes (--max-all-bodies-bytes)")
        assert settles(n_held, 0) == 0
        assert server.post(PATH, content=last).status == 200
    assert idle(server)
    left = settles(lambda: resident_bytes(pid) - before, 8 * MIB)
    report.add("bodies that are held", ROUNDS * CLIENTS, growth=int(left))
    report.note(f"{CLIENTS} clients with bodies of {len(large) >> 20} MiB, of which {MOST >> 20} MiB may be held: "
                f"{(most - before) / MIB:.0f} MiB more at most, {left / MIB:.0f} MiB in the end")  # fmt: skip
    # Two bodies are parsed at once, and each is there twice then.
    assert most - before < MOST + 3 * len(large) + CLIENTS * (FREE_BYTES + UNTAKEN_BYTES)
    assert left < 16 * MIB
