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
CLIENTS = 48 if LONG else 20
ROUNDS = 10 if LONG else 2
#: What each client may take beside: what has been read and not been counted, and smaller blocks stay in the heap.
SMALL_BYTES = MIB
#: What may be left more than after the first round: less than one body of all rounds.
GROWTH_BYTES = 3 * MOST // 16

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
    [
        (send_slowly, {}, 0),
        (send_whole, {"ignore_eos": True}, 0),
        (send_whole, {"ignore_eos": True, "stream": True}, 4),
    ],
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
    """`n_begun` of the answers begin before they are complete: with two events, each of which repeats the text to a
    client who does not read it."""
    large = body(MOST // 4, input="Once", **fields)
    last = body(MOST // 4, input="Once", max_output_tokens=2)
    pid = server.process.pid
    before = most = resident_bytes(pid)
    least = 4 * (len(large) - 1 - FREE_BYTES)

    def n_held() -> float:
        return metric(server, "rustllm:held_body_bytes")

    for number in range(ROUNDS):
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
            assert -settles(lambda: -n_held(), -least) >= least
            refused = server.post(PATH, content=last)
            assert refused.status == 503
            assert error_of(refused)[0].endswith(f"allowed: up to {MOST} bytes (--max-all-bodies-bytes)")
        assert settles(n_held, 0) == 0
        assert server.post(PATH, content=last).status == 200
        assert idle(server)
        if number == 0:  # what is filled once, such as the heap that connections read into, is filled by the first ones
            filled = settles(lambda: resident_bytes(pid), before + GROWTH_BYTES, 1)
    left = settles(lambda: resident_bytes(pid) - filled, GROWTH_BYTES)
    report.add("bodies that are held", ROUNDS * CLIENTS, growth=int(left))
    report.note(f"{CLIENTS} clients with bodies of {len(large) >> 20} MiB, of which {MOST >> 20} MiB may be held: "
                f"{(most - before) / MIB:.0f} MiB more at most, {left / MIB:.0f} MiB in the end")  # fmt: skip
    # Two bodies are parsed at once, and each is there twice then.
    copies = 3 if n_begun else 1
    assert most - before < copies * MOST + 3 * len(large) + CLIENTS * SMALL_BYTES
    assert left <= GROWTH_BYTES
