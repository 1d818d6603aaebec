"""Live answers have the fields that the documents name, and no others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from rustllm.chat.builtin import CHATML
from rustllm.config import ServerSettings
from rustllm.server.answers import Error
from rustllm.server.app import create_app
from rustllm.server.native.completion.schemas import Completion, CompletionEvent
from rustllm.server.native.control.schemas import Controlled
from rustllm.server.native.health.schemas import Status
from rustllm.server.native.props.schemas import Props, Slot, Success
from rustllm.server.native.streams.schemas import StreamState
from rustllm.server.native.tokenize.schemas import Content, CountedTokens, Prompt, Tokens
from rustllm.server.openai.chat.schemas import ChatChunk, ChatCompletion, InputTokens
from rustllm.server.openai.completions.schemas import TextCompletion
from rustllm.server.openai.models.schemas import Models
from tests.support.server import Server, as_messages, assert_error, running

PROMPT = {"prompt": "Once upon a time", "n_predict": 6, "seed": 1}
CHAT: dict[str, Any] = {"messages": as_messages("Book", "Hey"), "max_tokens": 6, "seed": 1}
#: What adds fields to answers.
MORE = {"n_probs": 2, "timings_per_token": True, "return_progress": True, "return_tokens": True, "verbose": True,
        "logit_bias": [[5, False]], "n": 2}  # fmt: skip


def _calling(call: dict[str, Any]) -> dict[str, Any]:
    """An answer that called a tool."""
    return {"role": "assistant", "content": "Hey", "tool_calls": [call]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "-b", "32", "--props")


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/health", Status),
        ("/v1/health", Status),
        ("/models", Models),
        ("/v1/models", Models),
        ("/props", Props),
        ("/slots", list[Slot]),
    ],
)
def test_what_is_got(server: Server, path: str, shape: Any) -> None:
    TypeAdapter(shape).validate_python(server.get(path).body, strict=True)


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/completion", PROMPT, Completion),
        ("/completions", {**PROMPT, **MORE}, list[Completion]),
        ("/completion", {**PROMPT, "n_probs": 2, "post_sampling_probs": True}, Completion),
        ("/v1/completions", PROMPT, TextCompletion),
        ("/v1/completions", {**PROMPT, **MORE}, TextCompletion),
        ("/v1/chat/completions", CHAT, ChatCompletion),
        ("/chat/completions", {**CHAT, **MORE}, ChatCompletion),
        ("/v1/chat/completions/input_tokens", CHAT, InputTokens),
        ("/chat/completions/input_tokens", CHAT, InputTokens),
        ("/tokenize", {"content": "Hey 🎉"}, Tokens),
        ("/tokenize", {"content": "Hey 🎉", "with_pieces": True}, Tokens),
        ("/tokenize", {"prompt": "Hey 🎉"}, CountedTokens),
        ("/tokenize", {"messages": as_messages("Hey"), "return_token_strs": True}, CountedTokens),
        ("/detokenize", {"tokens": [1, 300]}, Content),
        ("/v1/streams/lookup", {"conversation_ids": ["x"]}, list[StreamState]),
        ("/v1/chat/completions/control", {"id": "x", "action": "reasoning_end"}, Controlled),
        ("/v1/completions", {**PROMPT, "prompt_logprobs": 1, "echo": True, "logprobs": 2}, TextCompletion),
        ("/v1/chat/completions", {**CHAT, "prompt_logprobs": 0}, ChatCompletion),
        ("/apply-template", CHAT, Prompt),
        ("/props", {}, Success),
    ],
)
def test_what_is_posted(server: Server, path: str, body: dict[str, Any], shape: Any) -> None:
    answer = server.post(path, body)
    assert answer.status == 200, answer.body
    TypeAdapter(shape).validate_python(answer.body, strict=True)


@pytest.mark.parametrize("more", [{}, MORE, {"stream_options": {"include_usage": False}}])
@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [("/v1/completions", PROMPT, TextCompletion), ("/v1/chat/completions", CHAT, ChatChunk)],
)
def test_streams(server: Server, path: str, body: dict[str, Any], more: dict[str, Any], shape: type[BaseModel]) -> None:
    events = server.stream(path, {**body, **more})
    for event in events:
        shape.model_validate(event, strict=True)
    assert "timings" in events[-1]
    assert any("prompt_progress" in event for event in events) == (more is MORE)
    assert any("__verbose" in event for event in events) == (more is MORE)


def test_completion_streams(server: Server) -> None:
    for slot in (0, 1):
        events = server.stream("/completion", {**PROMPT, **MORE, "n": 1, "id_slot": slot})
        assert {event["id_slot"] for event in events} == {slot}
        assert "prompt_progress" in events[0]
        Completion.model_validate(events.pop(), strict=True)
        for event in events:
            CompletionEvent.model_validate(event, strict=True)


def test_props_of_a_model_without_a_template(server: Server) -> None:
    props = server.get("/props").body
    assert props["chat_template"] == CHATML
    caps = props["chat_template_caps"]
    assert {name for name, found in caps.items() if found} == {"supports_string_content", "supports_system_role"}
    assert (props["bos_token"], props["eos_token"]) == ("<s>", "</s>")
    assert props["model_ftype"] == "all F32"
    assert "chat_template_tool_use" not in props


def test_props_of_the_operators_template() -> None:
    source = "{{ messages[-1].content }}{{ tools | default([]) | tojson }}"
    for one in running("--jinja", "--chat-template", source):
        props = one.get("/props").body
        assert props["chat_template"] == source
        assert props["chat_template_caps"]["supports_tools"] is True
        assert props["chat_template_caps"]["supports_system_role"] is False
    for one in running("--no-jinja", "--chat-template", "llama2"):
        assert one.get("/props").body["chat_template"] == "llama2"


def test_models_tell_sizes_and_types(server: Server) -> None:
    body = server.get("/v1/models").body
    meta = body["data"][0]["meta"]
    assert {**meta, "n_ctx": 0} == {
        "vocab_type": 1, "n_vocab": 512, "n_ctx": 0, "n_ctx_train": 512, "n_embd": 64, "n_params": 292_800,
        "size": 1_171_200, "ftype": "all F32",
    }  # fmt: skip
    details = body["models"][0]["details"]
    assert (details["parameter_size"], details["quantization_level"]) == ("292.80K", "F32")
    assert body["data"][0]["aliases"] == [body["data"][0]["id"]]


def test_a_busy_slot_tells_its_settings(server: Server) -> None:
    text = "Once upon a time there was a fish"
    cached = server.post("/completion", {"prompt": text, "n_predict": 1, "cache_prompt": False}).body["tokens_cached"]
    body = {"prompt": text, "n_predict": 200, "ignore_eos": True, "temperature": 0.25}
    busy: list[dict[str, Any]] = []
    for _ in range(20):
        running_request = threading.Thread(target=server.post, args=("/completion", body))
        running_request.start()
        while running_request.is_alive() and not busy:
            slots = TypeAdapter(list[Slot]).validate_python(server.get("/slots").body, strict=True)
            busy = [slot.model_dump() for slot in slots if slot.is_processing and slot.params is not None]
        running_request.join()
        if busy:
            break
    assert busy[0]["params"]["temperature"] == 0.25
    following = busy[0]["next_token"][0]
    assert following["n_remain"] == 200 - following["n_decoded"]
    # All but the last token of the prompt came from the cache.
    assert (busy[0]["n_prompt_tokens_cache"], busy[0]["n_prompt_tokens_processed"]) == (cached - 1, 1)
    assert busy[0]["n_prompt_tokens"] == cached + following["n_decoded"]


def test_errors(server: Server) -> None:
    Error.model_validate(server.post("/completion", {"prompt": []}).body, strict=True)
    Error.model_validate(server.post("/completion", {"prompt": "x " * 2000}).body, strict=True)


def test_props_are_closed_unless_opened() -> None:
    for one in running():
        assert one.get("/props").body["endpoint_props"] is False
        assert_error(one.post("/props", {}), 501)


def api_paths(routes: Any) -> Iterator[str]:
    """The paths of routes but for the documents' own; a router that was included may stand for its own."""
    for route in routes:
        if isinstance(route, APIRoute):
            if route.include_in_schema:
                yield route.path
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from api_paths(router.routes)


def test_the_documents_describe_every_route(server: Server) -> None:
    document = server.get("/openapi.json").body

    def resolved(reference: str) -> Any:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        return place

    def check_references(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                assert resolved(value["$ref"])
            for inner in value.values():
                check_references(inner)
        elif isinstance(value, list):
            for inner in value:
                check_references(inner)

    check_references(document)
    paths = set(api_paths(create_app(ServerSettings()).routes))
    assert len(paths) > 40
    assert set(document["paths"]) == paths
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert "422" not in route["responses"], path
            others = {("/metrics", "get"): "text/plain", ("/v1/stream", "get"): "text/event-stream"}
            if (path, method) in others:
                assert route["responses"]["200"]["content"].keys() == {others[path, method]}
                continue
            if method == "delete":
                assert "content" not in route["responses"]["204"], path
                continue
            schema = route["responses"]["200"]["content"]["application/json"]["schema"]
            assert "$ref" in schema or "anyOf" in schema or "items" in schema, path
            error = route["responses"]["503"]["content"]["application/json"]["schema"]
            anthropic = path.startswith("/v1/messages")
            names = {"type", "error", "request_id"} if anthropic else {"error"}
            assert resolved(error["$ref"])["properties"].keys() == names, path
            if method == "post" and path != "/props":
                assert {"400", "401", "408", "413", "415", "429", "500"} <= route["responses"].keys(), path
                body = route["requestBody"]["content"]["application/json"]["schema"]
                assert body.get("items", body)["properties"], path
    stream = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert "prompt_progress" in stream["text/event-stream"]["schema"]["properties"]


def properties(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All properties of all schemas in a document, with their places."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from properties(item, f"{place}/{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "properties" and "type" in value:
                yield from ((f"{place}/{name}", field) for name, field in item.items())
            yield from properties(item, f"{place}/{key}")


def test_the_documents_describe_every_property(server: Server) -> None:
    document = server.get("/openapi.json").body
    found = dict(properties(document))
    for name in ("messages", "tools", "response_format", "stream_options", "lora"):
        inner = [place for place in found if "chat/completions/post/requestBody" in place and f"/{name}/" in place]
        assert inner, name
    # FastAPI keeps nothing beside a reference; what it refers to describes itself.
    schemas = document["components"]["schemas"]
    for place, field in found.items():
        described = schemas[field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else field
        assert described.get("description"), place


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"response_format": "text"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": 5}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": 5}}, "response_format.json_schema"),
        ({"response_format": {"type": "text", "json_schema": {"name": 5}}}, "response_format.json_schema.name"),
        ({"response_format": {"type": "text", "json_schema": {"strict": 5}}}, "response_format.json_schema.strict"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web", "function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "a", "description": 5}}]}, "tools[0].function.description"),
        ({"tools": [{"function": {"name": "a", "parameters": 5}}]}, "tools[0].function.parameters"),
        ({"tools": [{"function": {"name": "a", "strict": "x"}}]}, "tools[0].function.strict"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"logit_bias": {"5": "x"}}, "logit_bias"),
        ({"logit_bias": [[5, []]]}, "logit_bias[0][1]"),
        ({"lora": [{"id": 0}]}, "lora[0].scale"),
        ({"messages": [{"role": "user", "content": "Hey", "name": 5}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "Hey", "reasoning_content": 5}]}, "messages[0].reasoning_content"),
        ({"messages": [{"role": "tool", "content": "Hey", "tool_call_id": 5}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": 5}]}]}, "messages[0].content[0].type"),
        ({"messages": [_calling({"id": 5, "function": {"name": "a"}})]}, "messages[0].tool_calls[0].id"),
        ({"messages": [_calling({"type": 5, "function": {"name": "a"}})]}, "messages[0].tool_calls[0].type"),
        ({"messages": [_calling({"function": {"name": 5}})]}, "messages[0].tool_calls[0].function.name"),
        (
            {"messages": [_calling({"function": {"name": "a", "arguments": 5}})]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_types_of_parts_are_checked(server: Server, fields: dict[str, Any], param: str) -> None:
    answer = server.post("/v1/chat/completions", {**CHAT, **fields})
    assert_error(answer, param=param)
    assert answer.body["error"]["message"].startswith(f"{param}: ")


def test_parts_go_on_as_they_were_sent() -> None:
    tool = {"x": 1, "function": {"strict": True, "parameters": {"b": 1, "a": 2}, "name": "f"}, "type": "function"}
    for one in running("--jinja", "--chat-template", "{{ tools | default([]) | tojson }} {{ reasoning_effort }}"):
        body = {**CHAT, "tools": [tool], "reasoning_effort": "low"}
        assert one.post("/apply-template", body).body["prompt"] == f"[{json.dumps(tool)}] low"


def test_names_of_the_same_field(server: Server) -> None:
    def predicted(**fields: Any) -> Any:
        return server.chat("Hey", ignore_eos=True, **fields).body["usage"]["completion_tokens"]

    assert predicted(max_completion_tokens=3, max_tokens=7) == 3
    assert predicted(n_predict=2, max_completion_tokens=3) == 2
    assert predicted(max_tokens=2, n_cmpl=2) == 4
    assert_error(server.chat("Hey", max_completion_tokens=-5), param="max_completion_tokens")
    assert_error(server.chat("Hey", n_cmpl=0), param="n_cmpl")


def test_prompts_as_objects(server: Server) -> None:
    plain = server.post("/completion", {**PROMPT, "temperature": 0}).body["content"]
    given = {**PROMPT, "temperature": 0, "prompt": {"prompt_string": PROMPT["prompt"]}}
    assert server.post("/completion", given).body["content"] == plain
    media = {"prompt": {"prompt_string": "x", "multimodal_data": ["aGk="]}}
    assert_error(server.post("/completion", media), param="prompt.multimodal_data")
    assert_error(server.post("/completion", {"prompt": {}}), param="prompt.prompt_string")


def test_tokenize_takes_mixed_lists(server: Server) -> None:
    whole = server.post("/tokenize", {"content": "Hey"}).body["tokens"]
    assert server.post("/tokenize", {"content": [5, "Hey"]}).body["tokens"] == [5, *whole]
    assert_error(server.post("/tokenize", {"content": [512]}), param="content[0]")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/completions", {"suffix": "end"}, "suffix"),
        ("/v1/completions", {"best_of": 3}, "best_of"),
        ("/completion", {"n_indent": 2}, "n_indent"),
        ("/completion", {"lora": [{"id": 0, "scale": 1.0}]}, "lora[0].id"),
        ("/completion", {"reasoning_format": "deepseek"}, "reasoning_format"),
    ],
)
def test_what_is_not_there_is_refused(server: Server, path: str, fields: dict[str, Any], param: str) -> None:
    assert_error(server.post(path, {**PROMPT, **fields}), param=param)
