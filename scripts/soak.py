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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.attack import (  # noqa: E402 (the path has to be there first)
    Witness,
    idle,
    n_files,
    n_threads,
    resident_bytes,
    witness,
)
from tests.support.server import Server, as_messages  # noqa: E402

TEXTS = ("Once upon a time", "The little dog", "Lily went to the park", "One day, a boy named Tim found a box.")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}

#: What a server may have more in the last samples than after its first tenth.
GROWTH_BYTES = 8_000_000


@dataclass
class Sample:
    """What the process holds at one time."""

    seconds: float
    resident: int
    threads: int
    files: int


@dataclass
class Client:
    """One of the clients, who does the next thing at random."""

    url: str
    drawn: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def work(self, ends: threading.Event) -> None:
        """Requests until the end."""
        with httpx.Client(base_url=self.url, timeout=120) as http:
            while not ends.is_set():
                name, status = self.drawn.choice(ACTIONS)(self, http)
                self.counts[f"{name} {status}"] += 1
                if status >= 500 and status not in (501, 503):
                    self.wrong.append(f"{name}: {status}")

    def text(self) -> str:
        """A prompt, often one that was there before."""
        return self.drawn.choice(TEXTS) + (f" {self.drawn.randrange(1000)}" if self.drawn.random() < 0.3 else "")

    def post(self, http: httpx.Client, path: str, body: Any) -> tuple[str, int]:
        """A request whose answer is read as a whole."""
        response = http.post(path, json=body)
        if response.status_code == 200:
            response.json()
        return path.partition("?")[0], response.status_code

    def stream(self, http: httpx.Client, path: str, body: Any, name: str | None = None) -> tuple[str, int]:
        """A stream that is read to its end, or left."""
        leave_after = self.drawn.choice([None, None, 1, 5, 20])
        headers = {} if name is None else {"X-Conversation-Id": name}
        with (
            httpx.Client(base_url=self.url, timeout=120) as own,
            own.stream("POST", path, json={**body, "stream": True}, headers=headers) as response,
        ):
            last = ""
            for number, line in enumerate(response.iter_lines()):
                last = line or last
                if number == leave_after:
                    return f"{path} left", response.status_code
            if response.status_code == 200 and '"error"' in last:
                self.wrong.append(f"{path}: {last[:200]}")
        return f"{path} stream", response.status_code


Action = Callable[[Client, httpx.Client], tuple[str, int]]


def _chat(me: Client, http: httpx.Client) -> tuple[str, int]:
    body: dict[str, Any] = {"messages": as_messages(me.text()), "max_tokens": me.drawn.choice([1, 8, 40])}
    kind = me.drawn.randrange(5)
    if kind == 0:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    elif kind == 1:
        body |= {"tools": [TOOL], "tool_choice": "required"}
    elif kind == 2:
        body |= {"logprobs": True, "top_logprobs": 5, "n": 2}
    return me.post(http, "/v1/chat/completions", body)


def _completion(me: Client, http: httpx.Client) -> tuple[str, int]:
    body: dict[str, Any] = {"prompt": me.text(), "n_predict": me.drawn.choice([1, 8, 60])}
    if me.drawn.random() < 0.2:
        body["grammar"] = f'root ::= "a{me.drawn.randrange(100)}"+'
    return me.post(http, "/completion", body)


def _bad(me: Client, http: httpx.Client) -> tuple[str, int]:
    path = me.drawn.choice(["/completion", "/v1/chat/completions", "/tokenize", "/v1/messages", "/api/chat"])
    contents = [b"", b"{", b"[" * 1000, b'{"prompt": "\xff"}', b'{"prompt": [999999], "messages": 5, "content": 5}']
    response = http.post(path, content=me.drawn.choice(contents), headers={"content-type": "application/json"})
    return f"{path} bad", response.status_code


def _slot(me: Client, http: httpx.Client) -> tuple[str, int]:
    action = me.drawn.choice(["save", "restore", "erase"])
    return me.post(http, f"/slots/{me.drawn.randrange(4)}?action={action}", {"filename": f"f{me.drawn.randrange(3)}"})


def _look(me: Client, http: httpx.Client) -> tuple[str, int]:
    path = me.drawn.choice(["/health", "/props", "/slots", "/metrics", "/v1/models", "/api/tags", "/api/ps", "/none"])
    return path, http.get(path).status_code


def _named(me: Client, http: httpx.Client) -> tuple[str, int]:
    name = f"s{me.drawn.randrange(20)}"
    if me.drawn.random() < 0.5:
        return me.stream(http, "/completion", {"prompt": me.text(), "n_predict": 60}, name)
    if me.drawn.random() < 0.5:
        return "/v1/stream", http.delete("/v1/stream", params={"conv_id": name}).status_code
    return "/v1/stream", http.get("/v1/stream", params={"conv_id": name}).status_code


ACTIONS: tuple[Action, ...] = (
    _chat,
    _completion,
    _bad,
    _slot,
    _look,
    _named,
    lambda me, http: me.stream(http, "/v1/chat/completions", {"messages": as_messages(me.text()), "max_tokens": 60}),
    lambda me, http: me.stream(http, "/completion", {"prompt": me.text(), "n_predict": 200, "n_probs": 3}),
    lambda me, http: me.stream(http, "/v1/messages", {"messages": as_messages(me.text()), "max_tokens": 30}),
    lambda me, http: me.post(http, "/v1/completions", {"prompt": [me.text(), me.text()], "max_tokens": 8}),
    lambda me, http: me.post(http, "/v1/responses", {"input": me.text(), "max_output_tokens": 16}),
    lambda me, http: me.post(
        http, "/api/generate", {"prompt": me.text(), "stream": False, "options": {"num_predict": 8}}
    ),
    lambda me, http: me.post(http, "/v1/embeddings", {"input": [me.text()] * me.drawn.choice([1, 16])}),
    lambda me, http: me.post(http, "/tokenize", {"content": me.text() * me.drawn.choice([1, 2000])}),
    lambda me, http: me.post(http, "/detokenize", {"tokens": [1, 5, 9]}),
    lambda me, http: me.post(http, "/apply-template", {"messages": as_messages(me.text())}),
)


def soak(seconds: float, n_clients: int, seed: int) -> int:
    """Runs it and says what it saw; 0 where all is flat."""
    with tempfile.TemporaryDirectory() as slots:
        flags = ("--embeddings", "--pooling", "mean", "--slot-save-path", slots, "--metrics", "--max-queue", "64")
        server = Server("-c", "4096", "-np", "4", *flags, "-lv", "1").wait()
        try:
            clients = [Client(server.url, random.Random(seed + number)) for number in range(n_clients)]
            samples, good = _run(server, clients, seconds)
            assert idle(server), "a slot is held after the last request"
        finally:
            status = server.stop()
    return _judge(clients, samples, good, status)


def _run(server: Server, clients: list[Client], seconds: float) -> tuple[list[Sample], Witness]:
    ends = threading.Event()
    good = witness(server)
    threads = [threading.Thread(target=client.work, args=(ends,)) for client in clients]
    samples: list[Sample] = []
    began = time.monotonic()
    with good.watching(pause=0.1):
        for thread in threads:
            thread.start()
        while (now := time.monotonic() - began) < seconds and any(thread.is_alive() for thread in threads):
            pid = server.process.pid
            samples.append(Sample(now, resident_bytes(pid), n_threads(pid), n_files(pid)))
            time.sleep(min(1.0, seconds / 50))
        ends.set()
        for thread in threads:
            thread.join()
    return samples, good


def _judge(clients: list[Client], samples: list[Sample], good: Witness, status: int) -> int:
    total: Counter[str] = sum((client.counts for client in clients), Counter())
    wrong = [one for client in clients for one in client.wrong]
    for name, number in sorted(total.items()):
        print(f"{number:8d}  {name}")
    tenth = max(1, len(samples) // 10)
    # What is filled once is filled in the first tenths; a leak goes on.
    early, late = samples[3 * tenth : 5 * tenth], samples[-2 * tenth :]
    if not early:
        print("too short to say anything")
        return 1

    def middle(part: list[Sample], what: str) -> int:
        values = sorted(getattr(sample, what) for sample in part)
        return int(values[len(values) // 2])

    faults = [f"the server ended with {status}"] if status else []
    faults += wrong[:10]
    limits = {"resident": GROWTH_BYTES, "threads": 2, "files": 2 * len(clients)}
    for what, limit in limits.items():
        first, last = middle(early, what), middle(late, what)
        print(f"{what}: {first} after {early[0].seconds:.0f} s, {last} at the end")
        if last - first > limit:
            faults.append(f"{what} grew from {first} to {last}; allowed: {limit} more")
    print(f"{sum(total.values())} requests in {samples[-1].seconds:.0f} s; {good.n_served} of the same answer")
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return soak(arguments.seconds, arguments.clients, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
