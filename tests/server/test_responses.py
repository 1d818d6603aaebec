"""`/v1/responses` against the official client and its types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema
import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from rustllm.chat.messages import MessageError
from rustllm.server.errors import ApiError
from rustllm.server.openai.responses.chat import names
from rustllm.server.openai.responses.items import chat_messages, message_places
from rustllm.server.openai.responses.schemas import Response as ResponseShape
from rustllm.server.openai.responses.schemas import ResponseEvent, ResponsesRequest
from rustllm.server.renamed import renamed
from tests.support.app import app
from tests.support.server import Server, assert_error, running

WEATHER = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "weather", "description": "Tells the weather", "parameters": WEATHER, "strict": True},
    {"type": "function", "name": "now"},
]
ASK: dict[str, Any] = {"input": "Once upon a time", "max_output_tokens": 12, "temperature": 0}
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

#: A template whose prompts open a thought.
THINKS = "{# </think> #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}<think>\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "4096", "-np", "2")


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def events_of(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, numbered, each under its own name and of the client's types."""
    found = []
    with server.client.stream("POST", "/v1/responses", json={**body, "stream": True}) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line]
    for number, (name, data) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        ResponseEvent.model_validate(event, strict=True)
        EVENTS.validate_python(event, strict=True)
        found.append(event)
    return found


def put_together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that a stream tells by its small events alone."""
    items: list[dict[str, Any]] = []
    texts: list[str] = []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        assert event["output_index"] == len(items) - (kind != "output_item.added")
        if kind == "output_item.added":
            items.append(event["item"])
            texts.append("")
            assert event["item"]["status"] == "in_progress"
            continue
        assert event.get("item_id", items[-1]["id"]) == items[-1]["id"]
        if kind.endswith(".delta"):
            texts[-1] += event["delta"]
        elif kind == "function_call_arguments.done":
            items[-1]["arguments"] = event["arguments"]
            assert event["arguments"] == texts[-1]
        elif kind in ("output_text.done", "reasoning_text.done"):
            assert event["text"] == texts[-1]
        elif kind in ("content_part.added", "content_part.done"):
            assert event["part"]["text"] == texts[-1]
            items[-1]["content"] = [event["part"]]
        else:
            assert kind == "output_item.done"
            assert event["item"] == {**items[-1], "status": event["item"]["status"]}
            items[-1] = event["item"]
    return items


def both(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """The answer, which is the same whole and streamed."""
    answer = server.post("/v1/responses", body)
    assert answer.status == 200, answer.body
    ResponseShape.model_validate(answer.body, strict=True)
    Response.model_validate(answer.body, strict=True)
    events = events_of(server, body)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] == f"response.{last['response']['status']}"
    assert put_together(events) == last["response"]["output"]
    assert _plain(last["response"]) == _plain(answer.body)
    return dict(answer.body)


def _plain(response: dict[str, Any]) -> dict[str, Any]:
    """A response without what differs from one time to the next."""
    output = [{**item, "id": "", "call_id": ""} for item in response["output"]]
    usage = {**response["usage"], "input_tokens_details": None}
    return {**response, "output": output, "usage": usage, "id": "", "created_at": 0, "completed_at": 0}


def test_texts(server: Server) -> None:
    response = both(server, {**ASK, "metadata": {"a": "b"}, "user": "me"})
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (response["metadata"], response["user"]) == ({"a": "b"}, "me")
    (item,) = response["output"]
    chat = server.chat(ASK["input"], max_tokens=12, temperature=0).body
    assert item["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert response["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert response["usage"]["output_tokens"] == 12


def test_an_answer_that_ends_is_complete(server: Server) -> None:
    text = both(server, ASK)["output"][0]["content"][0]["text"]
    response = both(server, {**ASK, "stop": [text.split()[2]]})
    assert (response["status"], response["incomplete_details"]) == ("completed", None)
    assert response["output"][0]["status"] == "completed"


def test_items_become_messages(server: Server) -> None:
    def count(path: str, **fields: Any) -> int:
        answer = server.post(f"{path}/input_tokens", fields)
        assert answer.status == 200, answer.body
        return int(answer.body["input_tokens"])

    call = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": '{"unit": "C", "days": 2}'}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi\nthere"},
        {"role": "assistant", "reasoning_content": "Hm", "content": "Let me see", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny", "name": "weather"},
        {"role": "user", "content": "Well?"},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_text", "text": "there"}]},
        {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see"}]},
        {"type": "function_call", "call_id": "c1", **call["function"]},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "Sunny"}]},
        {"type": "message", "role": "user", "content": "Well?"},
    ]
    expected = count("/v1/chat/completions", messages=messages)
    for path in ("/v1/responses", "/responses"):
        assert count(path, input=items, instructions="Be kind.") == expected
    assert count("/responses", input="Hi") == count("/chat/completions", messages=[{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "weather"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
    ],
)
def test_forced_functions(server: Server, choice: dict[str, Any]) -> None:
    more = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "max_output_tokens": 200}
    response = both(server, {**ASK, **more})
    (item,) = response["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "weather", "completed")
    jsonschema.validate(json.loads(item["arguments"]), WEATHER)
    assert response["tool_choice"] == choice


def test_schemas(server: Server) -> None:
    form = {"type": "json_schema", "name": "weather", "schema": WEATHER, "strict": True}
    response = both(server, {**ASK, "text": {"format": form}, "max_output_tokens": 100})
    jsonschema.validate(json.loads(response["output"][0]["content"][0]["text"]), WEATHER)
    assert response["text"]["format"] == form


def test_thoughts_are_items() -> None:
    for one in running("-c", "1024", "--jinja", "--chat-template", THINKS, "--reasoning-budget", "5"):
        response = both(one, {**ASK, "max_output_tokens": 24, "reasoning": {"effort": "low", "summary": "auto"}})
        thought, answer = response["output"]
        assert (thought["type"], answer["type"]) == ("reasoning", "message")
        assert thought["content"][0]["text"]
        assert answer["content"][0]["text"]
        assert 0 < response["usage"]["output_tokens_details"]["reasoning_tokens"] <= 6


def test_log_probabilities(server: Server) -> None:
    more = {"include": ["message.output_text.logprobs"], "top_logprobs": 3}
    part = both(server, {**ASK, **more})["output"][0]["content"][0]
    assert "".join(each["token"] for each in part["logprobs"]).strip() == part["text"].strip()
    assert all(len(each["top_logprobs"]) == 3 for each in part["logprobs"])


class Weather(pydantic.BaseModel):
    """What the client parses answers into."""

    unit: Literal["C", "F"]
    days: Literal[1, 2, 3]


def test_the_client(client: openai.OpenAI, server: Server) -> None:
    # The client takes only a complete response for the end of a stream.
    word = server.post("/v1/responses", ASK).body["output"][0]["content"][0]["text"].split()[2]
    asking: dict[str, Any] = {**ASK, "model": "story", "extra_body": {"stop": [word]}}
    whole = client.responses.create(**asking)
    assert whole.output_text
    with client.responses.stream(**asking) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert final.output_text == whole.output_text
    del asking["extra_body"]
    parsed = client.responses.parse(**{**asking, "max_output_tokens": 100}, text_format=Weather)
    assert isinstance(parsed.output_parsed, Weather)
    tool = openai.pydantic_function_tool(Weather)["function"]
    called = client.responses.parse(
        **{**asking, "max_output_tokens": 100}, tool_choice="required",
        tools=[{"type": "function", "name": tool["name"], "parameters": tool["parameters"], "strict": True}],
    )  # fmt: skip
    assert called.output[0].type == "function_call"
    assert Weather.model_validate_json(called.output[0].arguments)
    counted = client.responses.input_tokens.count(model="story", input=ASK["input"])
    assert counted.input_tokens == whole.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(**asking, previous_response_id=whole.id)


_USER = {"role": "user"}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": None}, "input", ["None"]),
        ({"input": []}, "input", ["[]"]),
        ({"input": [5]}, "input[0]", ["5"]),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", ["stored"]),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type", ["'web_search_call'", "'function_call'"]),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", ["'robot'", "'user'"]),
        ({"input": [{**_USER, "content": 5}]}, "input[0].content", ["5"]),
        ({"input": [{**_USER, "content": [5]}]}, "input[0].content[0]", ["5"]),
        ({"input": [{**_USER, "content": [{"type": "input_image"}]}]}, "input[0].content[0].type", ["images"]),
        ({"input": [{**_USER, "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", ["None"]),
        ({"input": [{"type": "function_call", "call_id": "x", "name": "y"}]}, "input[0].arguments", ["None"]),
        ({"input": [{"type": "function_call_output", "output": "y"}]}, "input[0].call_id", ["None"]),
        ({"max_output_tokens": -1}, "max_output_tokens", ["-1"]),
        ({"max_output_tokens": 2**63}, "max_output_tokens", [str(2**63)]),
        ({"previous_response_id": "resp_1"}, "previous_response_id", ["'resp_1'", "stored"]),
        ({"conversation": {"id": "x"}}, "conversation", ["stored"]),
        ({"prompt": {"id": "x"}}, "prompt", ["stored"]),
        ({"background": True}, "background", ["True", "False"]),
        ({"tools": {}}, "tools", ["{}"]),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", ["'web_search'", "'function'"]),
        ({"tools": [{"type": "function"}]}, "tools[0].name", ["None"]),
        ({"tools": [{"type": "function", "name": "x", "parameters": 5}]}, "tools[0].parameters", ["5"]),
        ({"tool_choice": "must"}, "tool_choice", ["'must'"]),
        ({"tool_choice": {"type": "function", "name": "x"}, "tools": TOOLS}, "tool_choice.name", ["'x'", "'weather'"]),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"name": "x"}]}, "tools": TOOLS},
            "tool_choice.tools[0].name",
            ["'x'", "'weather'"],
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", ["'xml'"]),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema", []),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 5}}}}, "text.format.schema", []),
        ({"temperature": "hot"}, "temperature", ["'hot'"]),
        ({"metadata": {"a": 5}}, "metadata.a", ["5"]),
    ],
)
def test_what_is_refused(server: Server, fields: dict[str, Any], param: str, words: list[str]) -> None:
    for stream in (False, True):
        error = assert_error(server.post("/v1/responses", {**ASK, **fields, "stream": stream}), 400, param)
        for word in (param, *words):
            assert word in error["message"]


def test_null_is_absent_and_unknown_fields_are_ignored(server: Server) -> None:
    names = ("instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include", "metadata",
             "store", "truncation", "user", "previous_response_id", "conversation", "background", "model", "top_p",
             "max_tool_calls", "service_tier")  # fmt: skip
    given = both(server, {**ASK, **dict.fromkeys(names), "safety_identifier": "x", "prompt_cache_key": "y", "n": 3})
    assert _plain(given) == _plain(both(server, ASK))


#: It reads tools, and a call's arguments as an object.
READS = (
    "{{ tools | default([]) | tojson }}"
    "{% for m in messages %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}"
    "{% endfor %}"
)


def _call(arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}


_THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}
_SAID = {"role": "assistant", "content": "Let me see"}
_RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}
_ASKED = {**_USER, "content": "Hi"}


def test_errors_of_messages_name_the_items_that_they_are_made_of() -> None:
    with app("-c", "512", "-np", "1", "--jinja", "--chat-template", READS) as one:
        for before in ([], [_ASKED], [_ASKED, _THOUGHT, _SAID, _call("{}")], [_call("{}"), _RESULT, _THOUGHT, _ASKED]):
            items = [*before, _call("{x"), _RESULT]
            place = f"input[{len(before)}].arguments"
            for instructions in (None, "Be kind"):
                for path in ("/v1/responses", "/v1/responses/input_tokens"):
                    answer = one.post(path, {"input": items, "instructions": instructions})
                    error = assert_error(answer, 400, place)
                    assert error["message"].startswith(f"{place}: '{{x' is not JSON")
        # The same in a chat.
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{x"}}
        messages = [_ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}]
        answer = one.post("/v1/chat/completions", {"messages": [*messages, _ASKED]})
        assert_error(answer, 400, "messages[1].tool_calls[0].function.arguments")


def test_errors_of_all_messages_name_the_input() -> None:
    refuses = "{% if messages[0].content == 'Hi' %}{{ raise_exception('no such chat') }}{% endif %}"
    with app("-c", "512", "-np", "1", "--jinja", "--chat-template", refuses) as one:
        error = assert_error(one.post("/v1/responses", {"input": [_ASKED]}), 400, "input")
        assert "no such chat" in error["message"]
    with app("-c", "512", "-np", "1", "--max-messages", "2") as one:
        error = assert_error(one.post("/v1/responses", {"input": [_ASKED] * 2, "instructions": "x"}), 400, "input")
        assert "--max-messages" in error["message"]


def test_places_of_messages() -> None:
    items = [_ASKED, _THOUGHT, _SAID, _call("{}"), _call("{}"), _RESULT, {"type": "reasoning", "summary": "Hm"}, _SAID]
    assert len(chat_messages(items)) == len(message_places(items)) == 4
    request = ResponsesRequest.model_validate({"input": items, "instructions": "Be kind"})
    wanted = {
        "messages": "input",
        "messages[0].content": "instructions",
        "messages[1].content": "input[0].content",
        "messages[1].role": "input[0].role",
        "messages[2]": "input[1]",
        "messages[2].reasoning_content": "input[1].content",
        "messages[2].content": "input[2].content",
        "messages[2].tool_calls[0].function.name": "input[3].name",
        "messages[2].tool_calls[1]": "input[4]",
        "messages[2].tool_calls[1].function.arguments": "input[4].arguments",
        "messages[3].content": "input[5].output",
        "messages[3].tool_call_id": "input[5].call_id",
        "messages[4].reasoning_content": "input[6].summary",
        "messages[4].content": "input[7].content",
    }
    for given, own in wanted.items():
        with pytest.raises(ApiError) as refused, renamed(names(request)):
            raise MessageError(given, f"it is wrong ({given})")
        assert (refused.value.param, str(refused.value)) == (own, f"{own}: it is wrong ({own})"), given
    text = ResponsesRequest.model_validate({"input": "Hi"})
    with pytest.raises(ApiError, match=r"^input: ") as refused, renamed(names(text)):
        raise MessageError("messages[0].content", "it is wrong")
    assert refused.value.param == "input"
