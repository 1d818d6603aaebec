"""Keys: what a file says of them, their rates, and whose turn it is."""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rustllm.config import ServerSettings, UsageError, parse
from rustllm.engine import BusyError
from rustllm.keys import ApiKey, KeyFileError, named, read_keys
from rustllm.server import accounts as accounts_module
from rustllm.server.accounts import Account, Accounts
from rustllm.server.bucket import Bucket
from rustllm.server.errors import ApiError
from rustllm.server.fair_queue import FairQueue


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# The file


def test_a_plain_line_is_a_key_as_llama_server_s() -> None:
    assert read_keys("# ours\nfirst\n\n  second  \n") == [ApiKey("first"), ApiKey("second")]


def test_a_line_may_say_more() -> None:
    text = "k1 name=alice requests_per_minute=60 tokens_per_minute=9000 weight=3\nk2\tpriority=2\n"
    assert read_keys(text) == [ApiKey("k1", "alice", 60, 9000, 3), ApiKey("k2", weight=2)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("secret weight=0", "weight: '0' is not allowed; allowed: 1 to 1000"),
        ("secret requests_per_minute=1e3", "requests_per_minute: '1e3' is not allowed; allowed: 1 to 1000000"),
        ("secret tokens_per_minute=-5", "tokens_per_minute: '-5'"),
        ("secret rpm=5", "'rpm' is not allowed; allowed: KEY, then name=NAME"),
        ("secret secret2", "a word without = is not allowed"),
        ("secret name=", "name: '' is not allowed"),
        ("secret name=a/b", "name: 'a/b' is not allowed"),
        ("secret weight=1 weight=2", "weight is there twice"),
        ("secret weight=1 priority=2", "two names of one setting"),
    ],
)
def test_a_wrong_line_is_told_without_its_key(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"fine\n{line}\n")
    with pytest.raises(UsageError) as caught:
        ServerSettings.from_arguments(parse(["--api-key-file", str(file)], {}))
    assert f"{file}: line 2: " in str(caught.value)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_keys_get_names_and_are_there_once() -> None:
    keys = named([ApiKey("a"), ApiKey("b", "bob"), ApiKey("a"), ApiKey("c")])
    assert [(one.key, one.name) for one in keys] == [("a", "key-1"), ("b", "bob"), ("c", "key-3")]
    assert named([ApiKey("a"), ApiKey("a", "alice", 5)]) == (ApiKey("a", "alice", 5),)
    assert named([ApiKey("a", "key-2"), ApiKey("b")])[1].name == "key-2_"
    for wrong in ([ApiKey("a", "x"), ApiKey("b", "x")], [ApiKey("a", "x", 5), ApiKey("a", "y", 6)]):
        with pytest.raises(KeyFileError, match="twice"):
            named(wrong)


def test_a_key_is_never_shown() -> None:
    assert "hush" not in repr(ApiKey("hush", "alice"))


# Rates


def test_a_bucket_fills_evenly() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(60)
    assert (bucket.level, bucket.wait(), bucket.reset) == (0, 1, 60)
    clock.now += 2.5
    assert bucket.level == pytest.approx(2.5)
    bucket.take(10)
    assert bucket.wait() == pytest.approx(8.5)
    clock.now += 1e6
    assert bucket.level == 60


def test_the_wait_is_what_it_takes() -> None:
    """A request is refused until the seconds have passed that it was told, and not a second longer."""
    clock = Clock()
    account = Account(ApiKey("k", "alice", requests_per_minute=20), clock)
    for _ in range(20):
        account.take_request()
    with pytest.raises(ApiError) as caught:
        account.take_request()
    error = caught.value
    assert (error.status, error.retry_after) == (429, 3)
    assert "key alice" in str(error)
    assert "requests_per_minute in --api-key-file" in str(error)
    clock.now += error.retry_after - 0.01
    with pytest.raises(ApiError):
        account.take_request()
    clock.now += 0.01
    account.take_request()
    assert account.n_refused == {"requests": 2, "tokens": 0, "queue": 0}
    assert dict(account.headers()) == {
        b"x-ratelimit-limit-requests": b"20",
        b"x-ratelimit-remaining-requests": b"0",
        b"x-ratelimit-reset-requests": b"60.000s",
    }


def test_tokens_are_taken_by_the_limit_and_given_back() -> None:
    clock = Clock()
    account = Account(ApiKey("k", "alice", tokens_per_minute=600), clock)
    tokens = account.rates["tokens"]
    with account.spending(100, 200) as spent:
        assert tokens.level == 300
        spent.begin()
        spent.generated(50)
        assert tokens.level == 300
    assert tokens.level == 450
    # Without a limit they count as they come, and so does what goes beyond.
    with account.spending(100, 0) as spent:
        spent.begin()
        for _ in range(30):
            spent.generated(10)
        assert tokens.level == 50
    # A request may be larger than what is left; its debt is waited for.
    with account.spending(250, 0) as spent:
        spent.begin()
    assert tokens.level == -200
    with pytest.raises(ApiError) as caught, account.spending(1, 0):
        pass
    assert caught.value.retry_after == 21
    clock.now += 21
    with account.spending(1, 1000):
        pass  # it was given up in the queue: nothing was computed
    assert tokens.level == pytest.approx(10)
    with account.spending(1, 10**9) as spent:
        assert tokens.level == pytest.approx(9 - 600), "no more than a minute has, however large the limit is"
    assert tokens.level == pytest.approx(10)
    assert (account.n_prompt_tokens, account.n_generated_tokens) == (450, 350)


def test_the_key_is_found_by_its_bytes() -> None:
    accounts = Accounts([ApiKey("first"), ApiKey("schlüssel"), ApiKey("third")])
    assert accounts.find("schlüssel".encode()) is accounts.all[1]
    for wrong in (b"", b"firs", b"first ", b"FIRST", "schlüssel".encode("latin-1"), b"first,third"):
        assert accounts.find(wrong) is None


#: Enough of them for a search that stops at the one that it finds to be hundreds of times faster for the first.
MANY = [ApiKey(f"key-{index:04}") for index in range(2000)]
ASKED = {"first": b"key-0000", "middle": b"key-1000", "last": b"key-1999", "none": b"key-2000", "empty": b""}


def test_to_find_a_key_takes_as_long_for_any() -> None:
    """The least time of many, taken in turns, since other work on the machine only ever adds to it."""
    accounts = Accounts(MANY)
    best = dict.fromkeys(ASKED, math.inf)
    for _ in range(100):
        for name, key in ASKED.items():
            started = time.perf_counter()
            accounts.find(key)
            best[name] = min(best[name], time.perf_counter() - started)
    assert max(best.values()) < 1.5 * min(best.values()), best


@pytest.mark.parametrize("given", ASKED.values(), ids=ASKED)
def test_each_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, given: bytes) -> None:
    """A comparison that stops at the first byte that differs would take too little longer for a clock to show."""
    accounts = Accounts(MANY)
    compared: list[tuple[int, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), right))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(accounts_module, "hmac", SimpleNamespace(compare_digest=compare))
    accounts.find(given)
    assert len({right for _, right in compared}) == len(compared) == len(MANY)
    # Of other lengths it returns at once.
    assert {length for length, _ in compared} == {len(right) for _, right in compared} == {32}


# Turns


class Queue:
    """A queue whose requests are told when to end, on a loop of their own."""

    def __init__(self, capacity: int, max_waiting: int = 1000) -> None:
        self.queue = FairQueue(capacity, max_waiting, lambda: 2.5)
        self.order: list[str] = []
        self.inside: list[tuple[Account, asyncio.Event]] = []
        self.refused: list[str] = []
        self.waits: list[float] = []

    def ask(self, account: Account, *, size: int = 1, slot: int | None = None) -> asyncio.Task[None]:
        async def work() -> None:
            try:
                async with self.queue.turn(account, size, slot):
                    self.order.append(account.name)
                    done = asyncio.Event()
                    self.inside.append((account, done))
                    await done.wait()
            except BusyError as error:
                self.waits.append(error.retry_after)
                self.refused.append(account.name)

        return asyncio.ensure_future(work())

    async def end_one(self, tokens: int = 10) -> None:
        account, done = self.inside.pop(0)
        account.served += tokens / account.weight
        done.set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def account(name: str, weight: int = 1) -> Account:
    return Account(ApiKey(name, name, weight=weight))


def test_one_key_s_flood_does_not_hold_up_another() -> None:
    async def check() -> None:
        queue, flood, other = Queue(2), account("flood"), account("other")
        for _ in range(50):
            queue.ask(flood)
        await settle()
        queue.ask(other)
        queue.ask(other)
        await queue.end_one()
        await queue.end_one()
        await queue.end_one()
        # The first two ran already; of the next three, two are the other's.
        assert queue.order.count("other") == 2
        assert queue.order[:2] == ["flood", "flood"]
        while queue.inside:
            await queue.end_one()
        assert len(queue.order) == 52
        assert queue.queue.n_waiting == flood.n_waiting == flood.n_running == 0

    asyncio.run(check())


@pytest.mark.parametrize("weight", [1, 2, 5])
def test_shares_follow_the_weights(weight: int) -> None:
    async def check() -> None:
        queue, light, heavy = Queue(1), account("light"), account("heavy", weight)
        for _ in range(60):
            queue.ask(light)
            queue.ask(heavy)
        for _ in range(60):
            await settle()
            await queue.end_one()
        assert queue.order[:60].count("heavy") == pytest.approx(60 * weight / (weight + 1), abs=2)
        while queue.inside:
            await queue.end_one()

    asyncio.run(check())


def test_nobody_saves_up() -> None:
    async def check() -> None:
        queue, busy, late = Queue(1), account("busy"), account("late")
        for _ in range(100):
            queue.ask(busy)
        for _ in range(50):
            await settle()
            await queue.end_one()
        for _ in range(50):
            queue.ask(late)
        for _ in range(20):
            await settle()
            await queue.end_one()
        assert 8 <= queue.order[50:70].count("late") <= 12
        while queue.inside:
            await queue.end_one()

    asyncio.run(check())


def test_a_full_queue_refuses_who_has_most_in_it() -> None:
    async def check() -> None:
        queue, flood, other = Queue(1, max_waiting=4), account("flood"), account("other")
        for _ in range(6):
            queue.ask(flood)
        await settle()
        # One runs, four wait.
        assert queue.refused == ["flood"]
        for _ in range(2):
            queue.ask(other)
            await settle()
        assert queue.refused == ["flood"] * 3
        queue.ask(other)
        await settle()
        assert queue.refused == ["flood"] * 3 + ["other"]
        assert (flood.n_refused["queue"], other.n_refused["queue"]) == (3, 1)
        # While the flood was alone, all turns were its own; later it had half of them.
        assert queue.waits == pytest.approx([2.5, 7.5, 12.5, 5], abs=0.1)
        while queue.inside:
            await queue.end_one()

    asyncio.run(check())


def test_who_is_refused_is_told_when_its_key_has_a_place_again() -> None:
    """A request ends every 2.5 seconds. Of four turns one is the light key's, and each of its clients gets another."""

    async def check() -> None:
        queue, light, heavy = Queue(1, max_waiting=5), account("light"), account("heavy", 3)
        for _ in range(4):
            queue.ask(heavy)
        for _ in range(5):
            queue.ask(light)
        await settle()
        assert queue.refused == ["light"] * 3
        assert queue.waits == pytest.approx([10, 20, 30], abs=0.1)
        while queue.inside:
            await queue.end_one()

    asyncio.run(check())


def test_who_leaves_is_forgotten_in_any_state() -> None:
    async def check() -> None:
        queue, one = Queue(1), account("one")
        tasks = [queue.ask(one) for _ in range(4)]
        await settle()
        tasks[2].cancel()
        await settle()
        assert (one.n_waiting, one.n_running) == (2, 1)
        # The second's turn comes in the same moment as its client leaves.
        queue.inside.pop(0)[1].set()
        tasks[1].cancel()
        await settle()
        assert (one.n_waiting, one.n_running) == (0, 1)
        tasks[3].cancel()
        await settle()
        assert (one.n_waiting, one.n_running, queue.queue.n_waiting) == (0, 0, 0)
        queue.ask(one)
        await settle()
        assert one.n_running == 1
        await queue.end_one()
        await settle()

    asyncio.run(check())


def test_requests_for_one_slot_do_not_hold_up_the_others() -> None:
    async def check() -> None:
        queue, pinning, other = Queue(2), account("pinning"), account("other")
        for _ in range(20):
            queue.ask(pinning, slot=0)
        for _ in range(2):
            queue.ask(other)
        await settle()
        assert sorted(queue.order) == ["other", "other", "pinning"]
        while queue.inside:
            await queue.end_one()
        assert len(queue.order) == 22

    asyncio.run(check())
