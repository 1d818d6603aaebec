"""Answers recorded from llama-server, replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ROOT, Server, running

#: How far log probabilities may differ.
TOLERANCE = 0.03

CASES = [
    json.loads(line)
    for path in sorted(Path(ROOT, "tests/data/parity").glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "1", "-fa", "off", "-ctk", "f32", "-ctv", "f32")


def summarize(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """What two servers must agree on."""
    if status != 200:
        return {"status": status, "error_shape": isinstance(body.get("error"), dict)}
    if "choices" in body:
        choice, usage = body["choices"][0], body["usage"]
        summary = {
            "status": 200,
            "text": choice["message"]["content"],
            "finish": choice["finish_reason"],
            "n_prompt": usage["prompt_tokens"],
            "n_generated": usage["completion_tokens"],
        }
        probs = (choice.get("logprobs") or {}).get("content")
    elif "stop_type" in body:
        summary = {
            "status": 200,
            "text": body["content"],
            "finish": body["stop_type"],
            "n_prompt": body["tokens_evaluated"],
            "n_generated": body["tokens_predicted"],
        }
        probs = body.get("completion_probabilities")
    else:
        return {"status": 200, **body}
    if probs:
        summary["logprobs"] = [[entry["token"], entry.get("logprob", entry.get("prob"))] for entry in probs]
    return summary


def test_all_cases_are_here() -> None:
    assert len(CASES) == 183 + 18


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_recorded_answer(server: Server, case: dict[str, Any]) -> None:
    answer = server.post(case["path"], case["body"])
    got = summarize(answer.status, answer.body)
    for key, want in case["expect"].items():
        if key != "logprobs":
            assert got.get(key) == want, key
            continue
        assert [token for token, _ in got[key]] == [token for token, _ in want]
        for (_, value), (_, wanted) in zip(got[key], want, strict=True):
            assert value == pytest.approx(wanted, abs=TOLERANCE)
