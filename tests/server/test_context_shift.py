"""Answers longer than the context."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import Server, assert_error, running

REQUEST = {"prompt": "Once upon a time", "temperature": 0, "ignore_eos": True, "return_tokens": True}
CONTEXT = 64


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", str(CONTEXT), "-np", "1", "--context-shift")


def prompt(server: Server) -> list[int]:
    return list(server.post("/tokenize", {"content": REQUEST["prompt"], "add_special": True}).body["tokens"])


@pytest.mark.parametrize(
    ("fields", "keep", "discard"),
    [
        # BOS always stays; the older half of the rest goes.
        ({}, 1, 31),
        ({"n_keep": 3}, 4, 29),
        ({"n_keep": -1}, 6, 28),
        ({"n_keep": 1000}, 60, 1),
        ({"n_discard": 10}, 1, 10),
        ({"n_keep": 3, "n_discard": 1000}, 4, 59),
    ],
)
def test_after_a_shift_the_answer_goes_on_from_what_is_left(
    server: Server, fields: dict[str, int], keep: int, discard: int
) -> None:
    n_after = discard
    ids = prompt(server)
    n_first = CONTEXT - len(ids)
    body = server.post("/completion", {**REQUEST, **fields, "n_predict": n_first + n_after}).body
    drawn = body["tokens"]
    assert len(drawn) == n_first + n_after
    known = [*ids, *drawn[:n_first]]
    left = [*known[:keep], *known[keep + discard :]]
    # Another request with the same tokens: what is left is computed, not moved, so the bits are the same.
    alone = server.post("/completion", {**REQUEST, "prompt": left, "n_predict": n_after}).body["tokens"]
    assert drawn[n_first:] == alone
    assert body["truncated"] is True
    assert body["stop_type"] == "limit"
    assert body["tokens_predicted"] == body["timings"]["predicted_n"] == len(drawn)
    assert body["tokens_evaluated"] == len(ids)
    assert body["timings"]["prompt_n"] + body["timings"]["cache_n"] == len(ids)
    assert body["tokens_cached"] < CONTEXT
    assert body["generation_settings"]["n_discard"] == fields.get("n_discard", 0)


def test_many_shifts_in_company(server: Server) -> None:
    whole = server.post("/completion", {**REQUEST, "n_predict": 400}).body["tokens"]
    assert len(whole) == 400
    for one in running("-c", str(3 * CONTEXT), "-np", "3", "-b", "16", "--context-shift"):
        answers = one.post("/completion", {**REQUEST, "n_predict": 400, "n": 3}).body
        assert [answer["tokens"] for answer in answers] == [whole] * 3
        assert {answer["truncated"] for answer in answers} == {True}


def test_a_stream_goes_on_over_a_shift(server: Server) -> None:
    request = {**REQUEST, "n_predict": 150}
    events = server.stream("/completion", request)
    assert "".join(event["content"] for event in events) == server.post("/completion", request).body["content"]
    assert events[-1]["truncated"] is True


def test_a_prompt_that_does_not_fit_is_refused_as_before(server: Server) -> None:
    error = assert_error(server.post("/completion", {**REQUEST, "prompt": "Once upon a time " * 40}))
    assert error["type"] == "exceed_context_size_error"


def test_a_tiny_context_makes_progress() -> None:
    for one in running("-c", "2", "-np", "1", "--context-shift"):
        body = one.post("/completion", {**REQUEST, "prompt": [1], "n_predict": 20}).body
        assert body["tokens_predicted"] == 20


def test_without_the_flag_the_answer_ends() -> None:
    for one in running("-c", str(CONTEXT), "-np", "1"):
        body = one.post("/completion", {**REQUEST, "n_predict": 400}).body
        assert body["truncated"] is True
        assert body["tokens_predicted"] == CONTEXT - body["tokens_evaluated"]
