"""Keys over the processes of a router and its models: names without keys, and rates that all of them spend."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from rustllm.keys import ApiKey
from rustllm.server.accounts import Account
from rustllm.server.errors import ApiError
from rustllm.server.router_mode import shared_accounts
from rustllm.server.router_mode.shared_accounts import HEADER, entrusted, share, shared_moments

KEYS = [
    ApiKey("hush-1", "alice", requests_per_minute=5, tokens_per_minute=600, weight=3),
    ApiKey("hush-2", "bob"),
    ApiKey("hush-3", "carol", tokens_per_minute=60),
]


def left(account: Account) -> float:
    return account.rates["tokens"].level


def test_a_process_knows_what_keys_may_ask_for_but_no_key(tmp_path: Path) -> None:
    share(KEYS, tmp_path)
    accounts = entrusted(tmp_path)
    assert [(one.name, one.weight, set(one.rates)) for one in accounts.all] == [
        ("alice", 3, {"tokens"}),
        ("bob", 1, set()),
        ("carol", 1, {"tokens"}),
    ]
    assert not any(b"hush" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_process_finds_whose_request_it_is_by_the_routers_word(tmp_path: Path) -> None:
    share(KEYS, tmp_path)
    accounts = entrusted(tmp_path)
    assert accounts.of(Headers({HEADER: "bob"})) is accounts.all[1]
    for headers in ({}, {HEADER: ""}, {HEADER: "hush-2"}, {HEADER: "Bob"}, {"authorization": "Bearer hush-2"}):
        assert accounts.of(Headers(headers)) is None, headers
    assert accounts.find(b"") is None


def test_what_one_process_spends_the_others_see(tmp_path: Path) -> None:
    router, first, second = share(KEYS, tmp_path).all[0], entrusted(tmp_path).all[0], entrusted(tmp_path).all[0]
    with first.spending(100, 400) as spent:
        spent.begin()
        assert left(router) == pytest.approx(100, abs=5)
        assert left(second) == pytest.approx(100, abs=5)
        spent.generated(50)
    assert left(second) == pytest.approx(450, abs=5)
    with second.spending(500, 0) as spent:
        spent.begin()
    with pytest.raises(ApiError) as caught, first.spending(1, 1):
        pass
    assert caught.value.retry_after in (5, 6)
    assert dict(router.headers())[b"x-ratelimit-remaining-tokens"] == b"0"
    # A process that comes later finds the rate as the others left it; other keys have theirs.
    assert left(entrusted(tmp_path).all[0]) < 0
    assert left(entrusted(tmp_path).all[2]) == 60


def test_nothing_is_lost_where_several_change_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(KEYS, tmp_path)
    # What stops here is the machine, not a process.
    monkeypatch.setattr(shared_accounts, "_PATIENCE", 60)

    def slowly(value: float) -> float:
        time.sleep(0.001)
        return value + 1

    def work() -> None:
        # With a view of its own, as another process has one.
        moment = shared_moments(tmp_path, len(KEYS))[2]
        for _ in range(20):
            moment.change(slowly)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [moment.get() for moment in shared_moments(tmp_path, len(KEYS))] == [0, 0, 80]


def test_a_process_that_stops_in_the_middle_does_not_stop_the_others(tmp_path: Path) -> None:
    carol = share(KEYS, tmp_path).all[2]
    with (tmp_path / "moments").open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        started = time.monotonic()
        carol.charge(30)
        assert time.monotonic() - started < 2
        assert left(carol) == pytest.approx(30, abs=5)


def test_without_what_the_router_says_nobody_is_served(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"keys\.json"):
        entrusted(tmp_path)
