"""What `generation_settings` tells of how an answer is constrained and read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rustllm.server.openai.chat.schemas import ChatCompletion
from tests.support.server import TEMPLATES, Server, as_messages, running

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
CHAT: dict[str, Any] = {"messages": as_messages("hi"), "max_tokens": 2, "verbose": True, "seed": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    template = TEMPLATES / "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"
    yield from running("-c", "2048", "-np", "1", "--chat-template-file", str(template))


def settings(server: Server, **fields: Any) -> dict[str, Any]:
    answer = server.post("/v1/chat/completions", {**CHAT, **fields})
    assert answer.status == 200, answer.body
    ChatCompletion.model_validate(answer.body, strict=True)
    return dict(answer.body["__verbose"]["generation_settings"])


def test_a_chat_without_tools(server: Server) -> None:
    plain = settings(server)
    assert (plain["grammar_lazy"], plain["grammar_triggers"]) == (False, [])
    assert (plain["reasoning_format"], plain["reasoning_in_content"]) == ("deepseek", False)
    assert plain["generation_prompt"] == "<\uff5cAssistant\uff5c><think>\n"
    assert settings(server, reasoning_format="none")["reasoning_format"] == "none"
    assert settings(server, add_generation_prompt=False)["generation_prompt"] == ""


def test_tools_that_may_be_called(server: Server) -> None:
    auto = settings(server, tools=TOOLS)
    assert auto["grammar_lazy"] is True
    assert {"type": 1, "value": "<\uff5ctool▁calls▁begin\uff5c>"} in auto["grammar_triggers"]
    assert auto["chat_format"] not in ("", "Content-only")


@pytest.mark.parametrize("fields", [{"tool_choice": "required"}, {"tool_choice": "none"}])
def test_grammars_that_wait_for_nothing(server: Server, fields: dict[str, Any]) -> None:
    told = settings(server, tools=TOOLS, **fields)
    assert (told["grammar_lazy"], told["grammar_triggers"]) == (False, [])


def test_thoughts_in_the_text_of_a_stream(server: Server) -> None:
    for name, expected in (("deepseek-legacy", True), ("deepseek", False)):
        events = server.stream("/v1/chat/completions", {**CHAT, "reasoning_format": name})
        (told,) = [event["__verbose"]["generation_settings"] for event in events if "__verbose" in event]
        assert (told["reasoning_format"], told["reasoning_in_content"]) == (name, expected)


def test_a_trigger_of_several_words() -> None:
    template = TEMPLATES / "meta-llama-Llama-3.2-3B-Instruct.jinja"
    for one in running("-c", "4096", "-np", "1", "--chat-template-file", str(template)):
        told = settings(one, tools=TOOLS)
        assert told["grammar_lazy"] is True
        assert any(
            trigger["type"] == 2 and trigger["value"].startswith("^\\s*") for trigger in told["grammar_triggers"]
        )


def test_a_completion_is_only_text(server: Server) -> None:
    told = server.post("/completion", {"prompt": "x", "n_predict": 1}).body["generation_settings"]
    assert (told["chat_format"], told["reasoning_format"], told["generation_prompt"]) == ("Content-only", "none", "")
