"""`/v1/messages` against the official client and its types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import jsonschema
import pytest
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from rustllm.server.anthropic.schemas import Message as MessageShape
from rustllm.server.anthropic.schemas import MessageError, MessageEvent
from tests.support.server import Answer, Server, running

WEATHER = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"name": "weather", "description": "Tells the weather", "input_schema": WEATHER},
    {"name": "now", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
]
ASK: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 12,
    "messages": [{"role": "user", "content": "Once upon a time"}],
    "temperature": 0,
}
#: The same for the client, which knows no temperature any more.
CALL: dict[str, Any] = {**{name: ASK[name] for name in ASK if name != "temperature"}, "extra_body": {"temperature": 0}}
EVENTS = TypeAdapter(RawMessageStreamEvent)

#: A template whose prompts open a thought.
THINKS = "{# </think> #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}<think>\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "4096", "-np", "2")


@pytest.fixture
def client(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def events_of(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, each under its own name and of the client's types."""
    found = []
    with server.client.stream("POST", "/v1/messages", json={**body, "stream": True}) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line]
    for name, data in zip(lines[::2], lines[1::2], strict=True):
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        MessageEvent.model_validate(event, strict=True)
        if event["type"] != "ping":
            EVENTS.validate_python(event, strict=True)
        found.append(event)
    return found


def put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a stream tells, by Anthropic's rules for its events."""
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    message = {**events[0]["message"], **events[-2]["delta"], "usage": events[-2]["usage"]}
    texts: list[str] = []
    for event in events[2:-2]:
        if event["type"] == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append(dict(event["content_block"]))
            texts.append("")
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(message["content"]) - 1
            (text,) = (value for name, value in event["delta"].items() if name != "type")
            texts[-1] += text
        else:
            block = message["content"][event["index"]]
            if block["type"] == "tool_use":
                block["input"] = json.loads(texts[-1])
            else:
                block[block["type"]] = texts[-1]
    return message


def both(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """The answer, which is the same whole and streamed."""
    answer = server.post("/v1/messages", body)
    assert answer.status == 200, answer.body
    MessageShape.model_validate(answer.body, strict=True)
    Message.model_validate(answer.body, strict=True)
    streamed = put_together(events_of(server, body))
    different = {"id": "", "usage": None}
    if body.get("tools"):
        # Calls have a name of their own each time.
        for message in (answer.body, streamed):
            for block in message["content"]:
                block.pop("id", None)
    assert {**answer.body, **different} == {**streamed, **different}
    assert answer.body["usage"]["output_tokens"] == streamed["usage"]["output_tokens"]
    return dict(answer.body)


def assert_refused(answer: Answer, status: int, kind: str, *words: str) -> None:
    """An error in Anthropic's shape that says these words."""
    assert answer.status == status, answer.body
    error = MessageError.model_validate(answer.body, strict=True)
    assert error.error.type == kind
    assert error.request_id == answer.headers["request-id"]
    for word in words:
        assert word in error.error.message


def test_texts(server: Server) -> None:
    message = both(server, ASK)
    assert message["stop_reason"] == "max_tokens"
    assert message["stop_sequence"] is None
    (block,) = message["content"]
    assert block["type"] == "text"
    assert message["usage"]["output_tokens"] == 12
    chat = {"messages": ASK["messages"], "max_tokens": 12, "temperature": 0}
    same = server.post("/v1/chat/completions", chat).body
    assert block["text"] == same["choices"][0]["message"]["content"]
    usage = message["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == same["usage"]["prompt_tokens"]


def test_the_end_by_a_stop_sequence(server: Server) -> None:
    text = both(server, ASK)["content"][0]["text"]
    word = text.split()[2]
    message = both(server, {**ASK, "stop_sequences": ["\0never", word]})
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", word)
    assert message["content"][0]["text"] == text[: text.index(word)]


def test_the_end_of_the_context(server: Server) -> None:
    message = both(server, {**ASK, "max_tokens": 100_000, "messages": [{"role": "user", "content": "ab " * 1000}]})
    assert message["stop_reason"] in ("model_context_window_exceeded", "end_turn")


def test_system_prompts_are_texts_or_blocks(server: Server) -> None:
    def count(**fields: Any) -> int:
        return int(
            server.post("/v1/messages/count_tokens", {"messages": ASK["messages"], **fields}).body["input_tokens"]
        )

    text = count(system="Be kind.\nBe short.")
    assert text > count()
    blocks = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    assert count(system=[*blocks, {"type": "text", "text": "Be short."}]) == text
    assert count(system=[]) == count(system=None) == count()


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "weather"}, {"type": "any"}])
def test_forced_tools(server: Server, choice: dict[str, Any]) -> None:
    tools = TOOLS if choice["type"] == "tool" else TOOLS[:1]
    body = {**ASK, "tools": tools, "tool_choice": {**choice, "disable_parallel_tool_use": True}, "max_tokens": 200}
    message = both(server, body)
    assert message["stop_reason"] == "tool_use"
    (block,) = message["content"]
    assert (block["type"], block["name"]) == ("tool_use", "weather")
    jsonschema.validate(block["input"], WEATHER)


def test_a_call_that_a_limit_cuts_off(server: Server) -> None:
    body = {**ASK, "tools": TOOLS[:1], "tool_choice": {"type": "any"}, "max_tokens": 14}
    message = server.post("/v1/messages", body).body
    assert message["stop_reason"] == "max_tokens"
    assert all(isinstance(block["input"], dict) for block in message["content"] if block["type"] == "tool_use")


def test_tools_without_a_choice_leave_texts(server: Server) -> None:
    for choice in ({"type": "auto"}, {"type": "none"}, None):
        assert both(server, {**ASK, "tools": TOOLS, "tool_choice": choice})["content"][0]["type"] == "text"


def test_results_go_back_in(client: anthropic.Anthropic) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"unit": "C", "days": 2}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Sunny"}]}
    messages: list[Any] = [
        *ASK["messages"],
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": ""}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    message = client.messages.create(**{**CALL, "messages": messages, "tools": TOOLS})
    assert message.usage.output_tokens == 12


def test_a_last_assistant_turn_is_continued(server: Server) -> None:
    turns = [*ASK["messages"], {"role": "assistant", "content": "There was a"}]
    chat = {"messages": turns, "max_tokens": 12, "temperature": 0}
    expected = server.post("/v1/chat/completions", chat).body["choices"][0]["message"]["content"]
    assert both(server, {**ASK, "messages": turns})["content"][0]["text"] == expected


def test_schemas(server: Server) -> None:
    form = {"type": "json_schema", "schema": WEATHER}
    for fields in ({"output_config": {"format": form, "effort": "low"}}, {"output_format": form}):
        message = both(server, {**ASK, **fields, "max_tokens": 100})
        jsonschema.validate(json.loads(message["content"][0]["text"]), WEATHER)


def test_thoughts_are_blocks() -> None:
    for one in running("-c", "1024", "--jinja", "--chat-template", THINKS):
        body = {**ASK, "thinking": {"type": "enabled", "budget_tokens": 5}, "max_tokens": 24}
        message = both(one, body)
        assert [block["type"] for block in message["content"]] == ["thinking", "text"]
        assert all(block[block["type"]] for block in message["content"])
        endless = both(one, {**ASK, "thinking": {"type": "adaptive"}, "max_tokens": 24})
        assert [block["type"] for block in endless["content"]] == ["thinking"]


def test_the_client(client: anthropic.Anthropic, server: Server) -> None:
    whole = client.messages.create(**CALL, metadata={"user_id": "u"}, service_tier="auto", system="Be kind.")
    assert whole._request_id
    with client.messages.stream(**CALL, system="Be kind.") as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].text == text == whole.content[0].text
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 12
    counted = client.messages.count_tokens(model="x", messages=ASK["messages"], system="Be kind.", tools=[])
    assert isinstance(counted, MessageTokensCount)
    assert counted.input_tokens == whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)
    with client.messages.stream(
        **{**CALL, "max_tokens": 200}, tools=TOOLS, tool_choice={"type": "tool", "name": "weather"}
    ) as stream:
        calling = stream.get_final_message()
    jsonschema.validate(calling.content[-1].input, WEATHER)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(**{**CALL, "max_tokens": -1})


_ANY = {"type": "any"}


def _content(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": None}, ["max_tokens"]),
        ({"max_tokens": "5"}, ["max_tokens", "'5'"]),
        ({"max_tokens": -1}, ["max_tokens", "-1"]),
        ({"messages": []}, ["messages"]),
        ({"messages": "hi"}, ["messages", "'hi'"]),
        ({"messages": [5]}, ["messages[0]", "5"]),
        ({"messages": [{"role": "tool", "content": "x"}]}, ["messages[0].role", "'tool'", "'user'"]),
        ({"messages": [{"role": "user", "content": None}]}, ["messages[0].content", "None"]),
        (_content(), ["messages[0].content"]),
        (_content(5), ["messages[0].content[0]", "5"]),
        (_content({"type": "image", "source": {}}), ["messages[0].content[0].type", "images", "'text'"]),
        (_content({"type": "document", "source": {"type": "url"}}), ["messages[0].content[0].source.type", "'url'"]),
        (_content({"type": "text", "text": 5}), ["messages[0].content[0].text", "5"]),
        (_content({"type": "tool_use", "id": "x"}), ["messages[0].content[0].type", "'tool_use'"]),
        (_content({"type": "tool_use", "id": "x", "name": "y"}, role="assistant"), ["messages[0].content[0].input"]),
        (_content({"type": "tool_result", "content": "x"}), ["messages[0].content[0].tool_use_id"]),
        (
            _content({"type": "tool_result", "tool_use_id": "x", "content": [{"type": "image"}]}),
            ["messages[0].content[0].content[0].type", "'image'"],
        ),
        ({"system": 5}, ["system", "5"]),
        ({"system": [{"type": "image"}]}, ["system[0].type", "'image'"]),
        ({"stop_sequences": "x"}, ["stop_sequences", "'x'"]),
        ({"stop_sequences": ["x"] * 1000}, ["stop_sequences", "1000"]),
        ({"temperature": "hot"}, ["temperature", "'hot'"]),
        ({"top_p": -1}, ["top_p", "-1"]),
        ({"tools": {}}, ["tools", "{}"]),
        ({"tools": [5]}, ["tools[0]", "5"]),
        ({"tools": [{"type": "web_search_20250305", "name": "x"}]}, ["tools[0].type", "web_search", "'custom'"]),
        ({"tools": [{"name": "x"}]}, ["tools[0].input_schema", "None"]),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, ["tools[0].name", "'a b'"]),
        ({"tools": [{"name": "x", "input_schema": {"type": "string"}}]}, ["tools[0].input_schema", "'string'"]),
        (
            {"tools": [{"name": "x", "input_schema": {"properties": {"a": {"type": 5}}}}], "tool_choice": _ANY},
            ["tools[0].input_schema"],
        ),
        ({"tool_choice": "any"}, ["tool_choice", "'any'"]),
        ({"tool_choice": {"type": "any"}}, ["tool_choice"]),
        ({"tool_choice": {"type": "tool"}}, ["tool_choice.name"]),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, ["tool_choice.name", "'x'", "'weather'"]),
        ({"thinking": {"type": "hard"}}, ["thinking.type", "'hard'", "'adaptive'"]),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, ["thinking.budget_tokens", "-1"]),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": 5}}}}, ["output_config.format."]),
        ({"messages": [{"role": "user", "content": "ab " * 5000}]}, ["2048"]),
    ],
)  # fmt: skip
def test_what_is_refused(server: Server, fields: dict[str, Any], words: list[str]) -> None:
    for stream in (False, True):
        answer = server.post("/v1/messages", {**ASK, **fields, "stream": stream})
        assert_refused(answer, 400, "invalid_request_error", *words)


def test_other_errors_have_the_shape_as_well(server: Server) -> None:
    assert_refused(server.post("/v1/messages", content=b"{"), 400, "invalid_request_error", "JSON")
    assert_refused(server.get("/v1/messages"), 405, "invalid_request_error")
    assert_refused(server.post("/v1/messages/batches", {}), 404, "not_found_error")
    assert "code" in server.post("/v1/messagesx", {}).body["error"]


def test_both_ways_to_give_a_key() -> None:
    for one in running("-c", "256", "--api-key", "secret"):
        asking = {**ASK, "max_tokens": 2}
        assert_refused(one.post("/v1/messages", asking), 401, "authentication_error")
        for keyed in (
            anthropic.Anthropic(base_url=one.url, api_key="secret", max_retries=0),
            anthropic.Anthropic(base_url=one.url, auth_token="secret", max_retries=0),
        ):
            assert keyed.messages.create(**{**CALL, "max_tokens": 2}).usage.output_tokens == 2
        with pytest.raises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=one.url, api_key="wrong", max_retries=0).messages.create(
                **{**CALL, "max_tokens": 2}
            )


def test_the_list_of_models(server: Server, client: anthropic.Anthropic) -> None:
    page = client.models.list()
    assert [(model.id, model.display_name, model.type) for model in page] == [("stories260K.gguf",) * 2 + ("model",)]
    ModelInfo.model_validate(page.data[0].to_dict(), strict=False)
    assert (page.has_more, page.first_id, page.last_id) == (False, "stories260K.gguf", "stories260K.gguf")
    assert server.get("/v1/models").body["object"] == "list", "OpenAI's clients get theirs"


def test_null_is_absent_and_unknown_fields_are_ignored(server: Server) -> None:
    nothing = dict.fromkeys(
        ("system", "stop_sequences", "stream", "top_p", "top_k", "tools", "tool_choice", "thinking", "metadata",
         "service_tier", "output_config", "output_format", "model", "container", "mcp_servers"))  # fmt: skip
    given = both(server, {**ASK, **nothing, "model": "claude", "betas": ["x"], "diagnostics": {}})
    assert given["content"] == both(server, ASK)["content"]
