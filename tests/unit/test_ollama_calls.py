"""Which call a result of Ollama's chats belongs to."""

from __future__ import annotations

import time
from typing import Any

from rustllm.server.ollama.chat import chat_fields
from rustllm.server.ollama.schemas import ChatRequest


def messages(*turns: dict[str, Any]) -> list[dict[str, Any]]:
    return list(chat_fields(ChatRequest.model_validate({"messages": list(turns)}))["messages"])


def calls(*names: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"function": {"name": name}} for name in names]}


def result(name: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": "x", "tool_name": name}


def belongs(*turns: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    return [
        (one.get("tool_call_id"), one.get("name")) for one in messages(*turns) if one["role"] == "tool"
    ]  # fmt: skip


def test_a_result_belongs_to_the_first_call_of_its_tool() -> None:
    assert belongs(calls("a", "b", "a"), result("a"), result("a"), result("b")) == [
        ("call_0", "a"), ("call_2", "a"), ("call_1", "b"),
    ]  # fmt: skip


def test_one_without_a_name_or_of_another_tool_belongs_to_the_first_call_of_any() -> None:
    assert belongs(calls("a", "b", "c", "a"), result("b"), result(), result("x"), result("c"), result("a")) == [
        ("call_1", "b"), ("call_0", "a"), ("call_2", "x"), ("call_3", "c"), (None, None),
    ]  # fmt: skip


def test_calls_of_a_later_turn_take_the_place_of_earlier_ones() -> None:
    assert belongs(calls("a"), calls("b"), result("a"), result("b")) == [("call_1", "a"), (None, None)]


def test_as_many_results_as_calls_take_no_time() -> None:
    n = 40_000
    turns = [calls(*(f"f{i}" for i in range(n))), *(result(f"f{n - 1 - i}") for i in range(n))]
    fields = ChatRequest.model_validate({"messages": turns})
    started = time.monotonic()
    chat_fields(fields)
    # Each result looked through all calls that were waiting: 800 million comparisons.
    assert time.monotonic() - started < 5
