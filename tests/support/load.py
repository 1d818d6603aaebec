"""More clients than a server has slots: they ask again and again, and come back when they are told to."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from tests.support.attack import anonymous_bytes, idle
from tests.support.server import Answer, Server, assert_error


@dataclass
class Refusal:
    """A client was told to come back, and did."""

    at: float
    #: When it was to come back.
    due: float
    was_served: bool | None = None


@dataclass
class Load:
    """Clients of one key, or of none, with requests of mixed sizes."""

    server: Server
    n_clients: int
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Tokens of an answer, of which each client draws one at a time.
    sizes: Sequence[int] = (8, 32, 96)
    #: Seconds that a client takes at most to read its answer.
    reads: float = 1.0
    #: Seconds that a refusal may take.
    refused_within: float = 1.0
    latencies: list[float] = field(default_factory=list)
    #: When answers were there.
    ends: list[float] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """All clients begin to ask."""
        self._threads = [threading.Thread(target=self._guarded, args=(number,)) for number in range(self.n_clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits for the answers that are under way."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures[0]

    @property
    def waits(self) -> list[int]:
        """Seconds that were told."""
        return [round(one.due - one.at) for one in self.refusals]

    @property
    def returns(self) -> list[Refusal]:
        """Those who came back when they were told to."""
        return [one for one in self.refusals if one.was_served is not None]

    @property
    def n_served_again(self) -> int:
        """How many of those were served then."""
        return sum(one.was_served is True for one in self.refusals)

    def promises(self) -> tuple[int, int]:
        """How many promises were kept, and how many were made whose time has passed.

        One is kept where so many answers have ended by then as clients were to be back, who knew when they were to be
        when it was made.
        """
        last = max(self.ends)
        made = [one for one in self.refusals if one.due <= last]
        return sum(self._is_kept(one) for one in made), len(made)

    def _is_kept(self, one: Refusal) -> bool:
        n_back = sum(other.at <= one.at < other.due <= one.due for other in self.refusals)
        return sum(one.at < end <= one.due for end in self.ends) >= n_back

    def _guarded(self, number: int) -> None:
        try:
            self._ask(number)
        except (AssertionError, httpx.HTTPError) as error:
            self.failures.append(error)

    def _ask(self, number: int) -> None:
        drawn = random.Random(number)
        refusal: Refusal | None = None
        with httpx.Client(base_url=self.server.url, headers=self.headers, timeout=120) as client:
            while not self._over.is_set():
                body = {"prompt": f"{number} " + "the dog " * drawn.choice([1, 10, 40]), "ignore_eos": True,
                        "n_predict": drawn.choice(self.sizes)}  # fmt: skip
                began = time.monotonic()
                answer = client.post("/completion", json=body)
                ended = time.monotonic()
                if refusal is not None:
                    refusal.was_served = answer.status_code == 200
                    refusal = None
                if answer.status_code == 200:
                    self.latencies.append(ended - began)
                    self.ends.append(ended)
                    self._over.wait(drawn.uniform(0, self.reads))
                    continue
                assert_error(Answer(answer.status_code, answer.json(), answer.headers), 429)
                took = ended - began
                assert took < self.refused_within, f"a refusal took {took:.1f} s"
                wait = int(answer.headers["retry-after"])
                assert 1 <= wait <= 60
                self.refusals.append(refusal := Refusal(ended, ended + wait))
                if self._over.wait(wait):
                    return


@dataclass
class Measured:
    """What a server did under a load."""

    tokens_per_second: float
    #: Anonymous memory that it held more at the end than after half of the time.
    growth: int


def run(server: Server, seconds: float, *loads: Load) -> Measured:
    """Lets the clients ask for so long; afterwards all slots are free."""
    before, began = n_tokens(server), time.monotonic()
    for load in loads:
        load.start()
    time.sleep(seconds / 2)
    half = anonymous_bytes(server.process.pid)
    time.sleep(seconds / 2)
    growth = anonymous_bytes(server.process.pid) - half
    rate = (n_tokens(server) - before) / (time.monotonic() - began)
    for load in loads:
        load.stop()
    assert idle(server)
    return Measured(rate, growth)


def n_tokens(server: Server) -> float:
    """Tokens generated so far."""
    text = server.client.get("/metrics").text
    found = re.search(r"^llamacpp:tokens_predicted_total (\S+)$", text, re.M)
    assert found
    return float(found[1])
