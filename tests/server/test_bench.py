"""`rustllm bench --url` against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.commands import failure, run
from tests.support.server import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "2048", "-np", "4")


def test_clients(server: Server) -> None:
    # So many tokens do not arrive in one read, between whose events there would be no time.
    done = run("bench", "--url", server.url, "-b", "1,3", "-r", "2", "-p", "5", "-n", "200", "-o", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["test"], row["clients"], row["requests"]) for row in rows] == [
        ("1 clients", 1, 2),
        ("3 clients", 3, 6),
    ]
    for row in rows:
        assert row["n_gen"] == 200
        assert row["n_prompt"] > 5
        assert row["tokens_per_second"] == pytest.approx(row["requests"] * 200 / row["wall"])
        assert 0.0 < row["ttft_p50"] <= row["ttft_p99"]
        assert 0.0 < row["tpot_p50"] <= row["tpot_p99"]
        assert 0.0 < row["load_cpu"] < row["wall"] + 0.1
    assert rows[0]["steady_tokens_per_second"] > 0.0


def test_arrivals_at_random(server: Server) -> None:
    arguments = ("--rate", "50", "--requests", "10", "-p", "5", "-n", "4", "--goal-ttft", "60000")
    (row,) = json.loads(run("bench", "--url", server.url, *arguments, "-o", "json").stdout)
    assert (row["test"], row["clients"], row["rate"], row["requests"]) == ("50 requests/s", None, 50.0, 10)
    assert row["goodput"] == pytest.approx(10 / row["wall"])
    assert row["steady_tokens_per_second"] is None


def test_the_table_has_every_column(server: Server) -> None:
    done = run("bench", "--url", server.url, "-r", "1", "-p", "5", "-n", "4", "-o", "md")
    head, rule, row = done.stdout.splitlines()
    assert len(head.split("|")) == len(rule.split("|")) == len(row.split("|"))
    assert "TTFT ms p50 / p99" in head


def test_a_refused_request_is_reported(server: Server) -> None:
    line = failure(1, "bench", "--url", server.url, "-r", "1", "-p", "3000", "-n", "4")
    assert "1 of 1 requests failed" in line
    assert "context" in line
