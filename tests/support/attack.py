"""Attacks on a live server: what is sent, what must come back, and what must not change meanwhile."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.server import Answer, Server, assert_error

#: Whether this is the long run (`make torture`) rather than the part of it in CI.
LONG = os.environ.get("RUSTLLM_TORTURE", "") == "long"

#: How often each row is tried, unless that takes more than so many seconds, and how often at least.
TRIES = 1000 if LONG else 3
SECONDS = float(os.environ.get("RUSTLLM_TORTURE_SECONDS", "1"))
LEAST_TRIES = 20 if LONG else 3

#: What a process may have more than in the first tries of a row. They fill what is filled once, such as caches with a
#: bound. Three tries do not fill it where bodies have megabytes: the small objects of such a body leave pages of the
#: interpreter in part use. A short run sees what loses most of such a body each time.
GROWTH_BYTES = 2_000_000 if LONG else 16_000_000

#: The key of the attacked server.
KEY = "sk-torture-0123456789abcdef"

#: Its greedy answer, with probabilities, is compared bit by bit.
GOOD = {"prompt": "Once upon a time", "n_predict": 12, "temperature": 0, "seed": 7, "n_probs": 3}

Send = Callable[["Target"], Answer]


@dataclass(frozen=True)
class Row:
    """One hostile input of a class, with the statuses that it may get."""

    kind: str
    text: str
    send: Send
    statuses: tuple[int, ...] = (400,)
    #: What the error's `param` begins with; where there is none, what the message names.
    param: str | None = None
    #: Words of the error's message.
    says: str = ""
    #: Seconds that the answer may take.
    within: float = 1.0

    @property
    def id(self) -> str:
        """As the test is called."""
        return f"{self.kind}: {self.text}"[:100].replace("\n", " ")


@dataclass
class Target:
    """The attacked server with what the rows need of it."""

    server: Server
    slots: Path

    def post(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Bytes to a route, with the key."""
        kind = {"content-type": "application/json", **(headers or {})}
        return self.server.post(path, content=content, headers=kind)

    def connect(self) -> socket.socket:
        """A connection of its own."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)

    def say(self, *parts: bytes, pause: float = 0.0) -> Answer:
        """The answer to bytes on a connection of their own; the server may refuse before the last of them."""
        with self.connect() as client:
            try:
                for part in parts:
                    client.sendall(part)
                    if pause:
                        time.sleep(pause)
            except OSError:
                pass  # it is told below
            return read_answer(client)


def read_answer(client: socket.socket) -> Answer:
    """The one answer that comes until the connection is closed."""
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass  # it was still being sent to
    head, _, body = data.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), json.loads(body) if body else None, httpx.Headers())


def error_of(answer: Answer) -> tuple[str, str | None]:
    """Message and field of an error in one of the three shapes that there are; the field is None in those that have
    no place for it."""
    error = answer.body["error"]
    if isinstance(error, str):  # Ollama's
        assert set(answer.body) == {"error"}
        return error, None
    if "request_id" in answer.body:  # Anthropic's
        assert answer.body["type"] == "error"
        return error["message"], None
    detail = assert_error(answer, answer.status)
    return detail["message"], detail["param"] or ""


def head(*lines: str, path: str = "/completion", method: str = "POST") -> bytes:
    """A request's head, with the key."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", f"X-Api-Key: {KEY}", *lines, "", ""]).encode()


def resident_bytes(pid: int | str) -> int:
    """Memory that a process has in use."""
    return _status_bytes(pid, "VmRSS:")


def anonymous_bytes(pid: int | str) -> int:
    """The same without pages of files. A model's file is mapped: a row of its embeddings comes in when its token first
    does, and is the system's to take back."""
    return _status_bytes(pid, "RssAnon:")


def _status_bytes(pid: int | str, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024


def n_threads(pid: int) -> int:
    """Threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def n_files(pid: int) -> int:
    """Open files and sockets of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def settles(value: Callable[[], float], limit: float, seconds: float = 5.0, pause: float = 0.05) -> float:
    """The value once it is at most `limit`, or when the time is up."""
    deadline = time.monotonic() + seconds
    while (found := value()) > limit and time.monotonic() < deadline:
        time.sleep(pause)
    return found


def repeated(attempt: Callable[[], None], resident: Callable[[], int]) -> tuple[int, int]:
    """Tries something again and again: how often, and how many bytes of memory more are in use in the end than were at
    most in the first tries."""
    highest = n_first = n_more = 0
    began = time.monotonic()
    while n_first < LEAST_TRIES or (n_first < max(3, TRIES // 10) and time.monotonic() - began < SECONDS / 4):
        attempt()
        n_first += 1
        highest = max(highest, resident())
    began = time.monotonic()
    while n_more < LEAST_TRIES or (n_more < TRIES and time.monotonic() - began < SECONDS):
        attempt()
        n_more += 1
    return n_first + n_more, int(settles(resident, highest + GROWTH_BYTES)) - highest


def idle(server: Server, seconds: float = 10.0) -> bool:
    """Whether all slots become free in time."""

    def n_busy() -> int:
        return sum(slot["is_processing"] for slot in server.get("/slots").body)

    return settles(n_busy, 0, seconds) == 0


def metric(server: Server, name: str) -> float:
    """The value of a gauge."""
    text = server.client.get("/metrics").text
    found = re.search(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
    assert found, text
    return float(found[1])


def bits(answer: Answer) -> str:
    """What must not differ between two answers to one request."""
    assert answer.status == 200, answer.body
    return json.dumps([answer.body["content"], answer.body["completion_probabilities"]], sort_keys=True)


@dataclass
class Witness:
    """A client of good will, who asks for the same all the time and notices any difference."""

    server: Server
    want: str
    n_served: int = 0
    wrong: list[str] = field(default_factory=list)

    def ask(self, client: httpx.Client) -> None:
        """One request, which must be served as always."""
        response = client.post("/completion", json=GOOD)
        if response.status_code == 429 and "retry-after" in response.headers:
            return  # it is told to come again, as everybody is
        got = bits(Answer(response.status_code, response.json(), response.headers))
        if got != self.want:
            self.wrong.append(got)
        self.n_served += 1

    @contextmanager
    def watching(self, pause: float = 0.005) -> Iterator[Witness]:
        """Asks on a thread of its own meanwhile; what was wrong is raised at the end."""
        ends = threading.Event()
        failures: list[BaseException] = []
        before = self.n_served

        def watch() -> None:
            try:
                with httpx.Client(base_url=self.server.url, headers=self.server.client.headers, timeout=60) as client:
                    self.ask(client)
                    while not ends.wait(pause):
                        self.ask(client)
            except (httpx.HTTPError, AssertionError, KeyError) as error:
                failures.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield self
        finally:
            ends.set()
            thread.join()
        assert not failures, failures
        assert not self.wrong, "a good request was answered otherwise than before"
        assert self.n_served > before


def witness(server: Server) -> Witness:
    """A witness who has seen, often, what the server answers when it is left alone: what the process takes for its
    first thousands of requests is no growth by an attack."""
    want = bits(server.post("/completion", GOOD))
    found = Witness(server, want)
    for _ in range(max(40, 2 * TRIES)):
        found.ask(server.client)
    assert not found.wrong
    return found
