"""Tool calls and reasoning through the server, with the official client."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest

from tests.support.answers import TOOLS
from tests.support.app import app
from tests.support.server import ROOT, TEMPLATES, Server, as_messages, running

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")

#: Forced calls tried; a long run tries 200.
CALLS = int(os.environ.get("RUSTLLM_TOOL_CALLS", "12"))

#: Its texts and lists are bounded, so that every answer ends.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2, "maxLength": 20},
        "days": {"type": "integer", "minimum": 0, "maximum": 10},
        "unit": {"enum": ["celsius", "kelvin"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        "place": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "days", "place"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"north": {"type": "boolean"}, "kind": {"enum": [1, 2, None]}},
            "required": ["north", "kind"],
            "additionalProperties": False,
        }
    },
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA}}
TIME: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Time.",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "maxLength": 10}},
            "required": ["zone"],
        },
    },
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
MESSAGES: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-m", str(SMOLLM2), "-c", "16384", "-np", "8")


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    body = {"model": "any", "messages": MESSAGES, "tools": [WEATHER, TIME], "max_tokens": 1500, **fields}
    return client.chat.completions.create(**body)


def test_a_forced_call_is_valid_at_any_temperature(client: openai.OpenAI) -> None:
    """Asked for at once, since a batch takes a fraction of the time of one after the other."""
    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(lambda seed: ask(client, tool_choice=NAMED, temperature=1.5, seed=seed), range(CALLS))
        choices = [answer.choices[0] for answer in asked]
    assert len(choices) == CALLS
    for choice in choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        [call] = choice.message.tool_calls
        assert (call.type, call.function.name) == ("function", "get_weather")
        jsonschema.validate(json.loads(call.function.arguments), SCHEMA)


def test_required_calls_one_of_the_tools(client: openai.OpenAI) -> None:
    for seed in range(3):
        choice = ask(client, tool_choice="required", parallel_tool_calls=False, seed=seed).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert len(choice.message.tool_calls) == 1
        assert choice.message.tool_calls[0].function.name in ("get_weather", "get_time")


def test_the_deltas_of_a_call_are_the_call(client: openai.OpenAI) -> None:
    fields = {"tool_choice": NAMED, "temperature": 1.0, "seed": 5}
    whole = ask(client, **fields).choices[0].message.tool_calls[0]
    chunks = [chunk.choices[0] for chunk in ask(client, stream=True, **fields) if chunk.choices]
    deltas = [delta for chunk in chunks for delta in chunk.delta.tool_calls or []]
    first, *rest = deltas
    assert (first.index, first.type, first.function.name, first.function.arguments) == (
        0,
        "function",
        "get_weather",
        "",
    )
    assert first.id
    assert all(delta.id is None and delta.function.name is None for delta in rest)
    assert len(rest) > 3
    assert "".join(delta.function.arguments for delta in rest) == whole.function.arguments
    assert chunks[-1].finish_reason == "tool_calls"
    assert all(chunk.delta.content is None for chunk in chunks)


def test_text_is_free_until_a_marker(client: openai.OpenAI) -> None:
    """Earlier calls in the chat make the model write the marker by itself."""
    shown: list[Any] = []
    for city in ("Paris", "Oslo", "Lima"):
        call = {"id": city, "type": "function", "function": {"name": "get_time", "arguments": f'{{"zone": "{city}"}}'}}
        shown += [
            {"role": "user", "content": f"What time is it in {city}?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": city, "content": "noon"},
            {"role": "assistant", "content": f"It is noon in {city}."},
        ]
    asked = [*shown, {"role": "user", "content": "What time is it in Rome?"}]
    choice = ask(client, messages=asked, tools=[TIME], temperature=0, max_tokens=200).choices[0]
    assert choice.finish_reason == "tool_calls"
    for call in choice.message.tool_calls:
        jsonschema.validate(json.loads(call.function.arguments), TIME["function"]["parameters"])
    plain = ask(client, tools=[TIME], temperature=0, max_tokens=20).choices[0]
    assert (plain.finish_reason, plain.message.tool_calls) == ("length", None)
    assert plain.message.content


def test_no_call_where_none_is_wanted(client: openai.OpenAI) -> None:
    choice = ask(client, tool_choice="none", max_tokens=10).choices[0]
    assert choice.message.tool_calls is None
    assert choice.message.content


def test_results_go_back_in(client: openai.OpenAI) -> None:
    call = ask(client, tool_choice=NAMED, seed=1).choices[0].message
    messages = [*MESSAGES, call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sunny"}]
    answer = ask(client, messages=messages, max_tokens=8).choices[0].message
    assert answer.content
    assert answer.tool_calls is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
         "tool_choice.function.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "grammar": 'root ::= "a"'}, "grammar"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties":
          {"a": {"type": "hiccup"}}}}}], "tool_choice": "required"}, "tools[0].function.parameters"),
        ({"reasoning_format": "loud"}, "reasoning_format"),
    ],
)  # fmt: skip
def test_bad_requests(server: Server, body: dict[str, Any], param: str) -> None:
    answer = server.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 4, **body})
    assert (answer.status, answer.body["error"]["param"]) == (400, param)


TEMPLATE_NAMES = (
    "Qwen-Qwen2.5-7B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "Mistral-Small-3.2-24B-Instruct-2506",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "Qwen3-Coder",
    "GLM-4.7-Flash",
    "Kimi-K2-Instruct",
    "MiniMax-M2",
    "LFM2.5-8B-A1B",
    "meetkai-functionary-medium-v3.2",
)


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_real_templates(name: str) -> None:
    """A random model under a real template: what is forced is a call, thoughts are apart from it."""
    template = str(TEMPLATES / f"{name}.jinja")
    fields = {"tools": TOOLS, "max_tokens": 900, "temperature": 1.0, "seed": 3}
    with app("-c", "8192", "-np", "1", "--reasoning-budget", "8", "--chat-template-file", template) as one:
        chosen = {"type": "function", "function": {"name": "stop"}}
        body = {"messages": as_messages("hi"), **fields, "tool_choice": chosen}
        answer = one.post("/v1/chat/completions", body)
        assert answer.status == 200, answer.body
        choice = answer.body["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["stop"]
        assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {}
        events = one.stream("/v1/chat/completions", body)
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
        pieces = [call for delta in deltas for call in delta.get("tool_calls", [])]
        assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == {}
        thought = "".join(delta.get("reasoning_content", "") for delta in deltas)
        assert thought == choice["message"].get("reasoning_content", "")


def test_keywords_of_bare_texts_that_cannot_be_enforced_are_named() -> None:
    template = str(TEMPLATES / "Qwen3-Coder.jinja")
    ahead = {"type": "string", "pattern": "^(?=a).*$", "maxLength": 3}
    plain = {"type": "string", "pattern": "^a{1,3}$", "format": "no-such"}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"x": ahead, "y": plain}}}
    body = {"messages": as_messages("hi"), "tool_choice": "required", "max_tokens": 2}
    with app("-c", "4096", "-np", "1", "--chat-template-file", template) as one:
        answer = one.post("/v1/chat/completions", {**body, "tools": [{"type": "function", "function": function}]})
        assert answer.status == 200
        place = "tools[0].function.parameters/properties"
        named = answer.headers["x-rustllm-ignored-schema-keywords"]
        assert named == f"{place}/x/pattern, {place}/y/format"
        strict = {"type": "function", "function": {**function, "strict": True}}
        answer = one.post("/v1/chat/completions", {**body, "tools": [strict]})
        assert (answer.status, answer.body["error"]["param"]) == (400, "tools[0].function.parameters")
        assert "the keyword at /properties/x/pattern cannot be enforced" in answer.body["error"]["message"]


def test_a_schema_applies_to_the_answer_and_not_to_the_thought() -> None:
    template = "{{ messages[-1].content }}<think>{# </think> #}"
    with app("-c", "512", "--jinja", "--chat-template", template, "--reasoning-budget", "12") as one:
        form = {"type": "json_object", "schema": {"const": "42"}}
        body = {"messages": as_messages("hi"), "response_format": form, "max_tokens": 60, "seed": 3}
        choice = one.post("/v1/chat/completions", body).body["choices"][0]
        assert choice["message"]["content"] == '"42"'
        assert choice["message"]["reasoning_content"]
        assert choice["finish_reason"] == "stop"
        grammar = {"messages": as_messages("hi"), "grammar": 'root ::= "yes"', "max_tokens": 60, "seed": 3}
        choice = one.post("/v1/chat/completions", grammar).body["choices"][0]
        assert choice["message"]["content"] == "yes"
        raw = one.post("/v1/chat/completions", {**grammar, "reasoning_format": "none"}).body["choices"][0]["message"]
        assert raw["content"].endswith("</think>yes")
        assert "reasoning_content" not in raw
        legacy = {**grammar, "reasoning_format": "deepseek-legacy"}
        both = one.post("/v1/chat/completions", legacy).body["choices"][0]["message"]
        assert both["content"] == raw["content"]
        assert both["reasoning_content"] == choice["message"]["reasoning_content"]


def test_a_budget_of_nothing_closes_the_thought_at_once() -> None:
    template = "{{ messages[-1].content }}<think>{# </think> #}"
    with app("-c", "512", "--jinja", "--chat-template", template, "--reasoning-budget", "0") as one:
        body = {"messages": as_messages("hi"), "max_tokens": 20}
        message = one.post("/v1/chat/completions", body).body["choices"][0]["message"]
        assert "reasoning_content" not in message
        assert message["content"]


def test_a_budget_message_and_unparsed_answers() -> None:
    template = "{{ messages[-1].content }}<think>{# </think> #}"
    flags = ("-c", "512", "--jinja", "--chat-template", template, "--reasoning-budget", "4")
    body = {"messages": as_messages("hi"), "max_tokens": 40, "seed": 3}
    for one in running(*flags, "--reasoning-budget-message", " Enough."):
        message = one.post("/v1/chat/completions", body).body["choices"][0]["message"]
        assert message["reasoning_content"].endswith(" Enough.")
        assert message["content"]
    for one in running(*flags, "--skip-chat-parsing"):
        forced = {**body, "tools": TOOLS, "tool_choice": "required"}
        for fields in (body, forced):
            message = one.post("/v1/chat/completions", fields).body["choices"][0]["message"]
            assert set(message) == {"role", "content"}
        form = {"type": "json_object", "schema": {"const": "42"}}
        answer = one.post("/v1/chat/completions", {**body, "response_format": form})
        assert answer.body["choices"][0]["message"]["content"] == '"42"'
