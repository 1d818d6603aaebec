"""Answers under fifty schemas of growing difficulty, at a high temperature: each ends by itself and is valid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.server import ROOT, Answer, Server, as_messages, running

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")

#: Answers to each schema; a long run takes more.
SEEDS = int(os.environ.get("RUSTLLM_SCHEMA_SEEDS", "3"))

LINES = (ROOT / "tests/data/schemas.jsonl").read_text(encoding="utf-8").splitlines()
CASES: list[dict[str, Any]] = [json.loads(line) for line in LINES]
#: With decimals as they are written: 19.99 is a multiple of 0.01, but its nearest double is not.
EXACT: list[Any] = [json.loads(line, parse_float=Decimal)["schema"] for line in LINES]
#: No answer to these needs as many; one that gets there would not have ended.
MAX_TOKENS = 1500

Answers = dict[tuple[int, int], Answer]


def ask(server: Server, key: tuple[int, int]) -> Answer:
    """The answer for a schema and a seed. Seeds go through the fields that take a schema."""
    index, seed = key
    name, schema = CASES[index]["name"], CASES[index]["schema"]
    body: dict[str, Any] = {
        "messages": as_messages(f"Give me one example of this as JSON: {name}."),
        **{"temperature": 1.5, "seed": seed, "max_tokens": MAX_TOKENS},
    }
    if seed % 3 == 0:
        named = {"name": "answer", "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif seed % 3 == 1 and schema.get("type") == "object":
        function = {"name": "answer", "parameters": schema, "strict": True}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = {"type": "function", "function": {"name": "answer"}}
    else:
        body["json_schema"] = schema
    return server.post("/v1/chat/completions", body)


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    """All answers, asked for at once: a batch takes a fraction of the time that they take one by one."""
    keys = [(index, seed) for seed in range(SEEDS) for index in range(len(CASES))]
    for server in running("-m", str(SMOLLM2), "-c", "32768", "-np", "16"):
        with ThreadPoolExecutor(24) as pool:
            yield dict(zip(keys, pool.map(partial(ask, server), keys), strict=True))


def test_there_are_fifty_different_schemas() -> None:
    assert len({json.dumps(case["schema"], sort_keys=True) for case in CASES}) == len(CASES) == 50


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: CASES[index]["name"])
def test_every_answer_ends_by_itself_and_is_valid(index: int, answers: Answers) -> None:
    validator = Draft202012Validator(EXACT[index], format_checker=Draft202012Validator.FORMAT_CHECKER)
    for seed in range(SEEDS):
        answer = answers[index, seed]
        assert answer.status == 200, answer.body
        assert "x-rustllm-ignored-schema-keywords" not in answer.headers
        choice = answer.body["choices"][0]
        calls = choice["message"].get("tool_calls")
        text = calls[0]["function"]["arguments"] if calls else choice["message"]["content"]
        assert choice["finish_reason"] == ("tool_calls" if calls else "stop"), text
        validator.validate(json.loads(text, parse_float=Decimal))


@pytest.mark.parametrize(
    "format", ["date", "date-time", "time", "duration", "hostname", "uri", "ipv6", "uuid", "email"]
)
def test_formats_are_checked_here(format: str) -> None:
    """The validator's checks of formats need libraries; without them every text would pass."""
    validator = Draft202012Validator({"format": format}, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert not validator.is_valid("no such thing \x00")
