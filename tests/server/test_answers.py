"""Live answers have the fields that the documents name, and no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from rustllm.server import answers
from tests.support.server import Server, as_messages, assert_error, running

PROMPT = {"prompt": "Once upon a time", "n_predict": 6, "seed": 1}
CHAT: dict[str, Any] = {"messages": as_messages("Book", "Hey"), "max_tokens": 6, "seed": 1}
#: What adds fields to answers.
MORE = {"n_probs": 2, "timings_per_token": True, "return_progress": True, "return_tokens": True, "verbose": True,
        "logit_bias": [[5, False]], "n": 2}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "-b", "32", "--props")


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/health", answers.Status),
        ("/v1/health", answers.Status),
        ("/models", answers.Models),
        ("/v1/models", answers.Models),
        ("/props", answers.Props),
        ("/slots", list[answers.Slot]),
    ],
)
def test_what_is_got(server: Server, path: str, shape: Any) -> None:
    TypeAdapter(shape).validate_python(server.get(path).body, strict=True)


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/completion", PROMPT, answers.Completion),
        ("/completions", {**PROMPT, **MORE}, list[answers.Completion]),
        ("/completion", {**PROMPT, "n_probs": 2, "post_sampling_probs": True}, answers.Completion),
        ("/v1/completions", PROMPT, answers.TextCompletion),
        ("/v1/completions", {**PROMPT, **MORE}, answers.TextCompletion),
        ("/v1/chat/completions", CHAT, answers.ChatCompletion),
        ("/chat/completions", {**CHAT, **MORE}, answers.ChatCompletion),
        ("/v1/chat/completions/input_tokens", CHAT, answers.InputTokens),
        ("/chat/completions/input_tokens", CHAT, answers.InputTokens),
        ("/tokenize", {"content": "Hey 🎉"}, answers.Tokens),
        ("/tokenize", {"content": "Hey 🎉", "with_pieces": True}, answers.Tokens),
        ("/detokenize", {"tokens": [1, 300]}, answers.Content),
        ("/apply-template", CHAT, answers.Prompt),
        ("/props", {}, answers.Success),
    ],
)
def test_what_is_posted(server: Server, path: str, body: dict[str, Any], shape: Any) -> None:
    answer = server.post(path, body)
    assert answer.status == 200, answer.body
    TypeAdapter(shape).validate_python(answer.body, strict=True)


@pytest.mark.parametrize("more", [{}, MORE, {"stream_options": {"include_usage": False}}])
@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [("/v1/completions", PROMPT, answers.TextCompletion), ("/v1/chat/completions", CHAT, answers.ChatChunk)],
)
def test_streams(server: Server, path: str, body: dict[str, Any], more: dict[str, Any], shape: type[BaseModel]) -> None:
    events = server.stream(path, {**body, **more})
    for event in events:
        shape.model_validate(event, strict=True)
    assert "timings" in events[-1]
    assert any("prompt_progress" in event for event in events) == (more is MORE)
    assert any("__verbose" in event for event in events) == (more is MORE)


def test_completion_streams(server: Server) -> None:
    events = server.stream("/completion", {**PROMPT, **MORE, "n": 1})
    answers.Completion.model_validate(events.pop(), strict=True)
    for event in events:
        answers.CompletionEvent.model_validate(event, strict=True)


def test_a_busy_slot_tells_its_settings(server: Server) -> None:
    body = {"prompt": "Once upon a time", "n_predict": 200, "ignore_eos": True, "temperature": 0.25}
    busy: list[dict[str, Any]] = []
    for _ in range(20):
        running_request = threading.Thread(target=server.post, args=("/completion", body))
        running_request.start()
        while running_request.is_alive() and not busy:
            slots = TypeAdapter(list[answers.Slot]).validate_python(server.get("/slots").body, strict=True)
            busy = [slot.model_dump() for slot in slots if slot.is_processing and slot.params is not None]
        running_request.join()
        if busy:
            break
    assert busy[0]["params"]["temperature"] == 0.25
    following = busy[0]["next_token"][0]
    assert following["n_remain"] == 200 - following["n_decoded"]


def test_errors(server: Server) -> None:
    answers.Error.model_validate(server.post("/completion", {"prompt": []}).body, strict=True)
    answers.Error.model_validate(server.post("/completion", {"prompt": "x " * 2000}).body, strict=True)


def test_props_are_closed_unless_opened() -> None:
    for one in running():
        assert one.get("/props").body["endpoint_props"] is False
        assert_error(one.post("/props", {}), 501)


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
    assert len(document["paths"]) == 16
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            schema = route["responses"]["200"]["content"]["application/json"]["schema"]
            assert "$ref" in schema or "anyOf" in schema or "items" in schema, path
            error = route["responses"]["503"]["content"]["application/json"]["schema"]
            assert resolved(error["$ref"])["properties"].keys() == {"error"}, path
            if method == "post" and path != "/props":
                assert {"400", "401", "408", "413", "415", "429", "500"} <= route["responses"].keys(), path
                fields = route["requestBody"]["content"]["application/json"]["schema"]["properties"]
                undescribed = [name for name, field in fields.items() if not field.get("description")]
                assert undescribed == [], path
    stream = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert "prompt_progress" in stream["text/event-stream"]["schema"]["properties"]


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
        ("/v1/completions", {"echo": True}, "echo"),
        ("/v1/completions", {"suffix": "end"}, "suffix"),
        ("/v1/completions", {"best_of": 3}, "best_of"),
        ("/completion", {"n_indent": 2}, "n_indent"),
        ("/completion", {"lora": [{"id": 0, "scale": 1.0}]}, "lora"),
        ("/completion", {"reasoning_format": "deepseek"}, "reasoning_format"),
    ],
)
def test_what_is_not_there_is_refused(server: Server, path: str, fields: dict[str, Any], param: str) -> None:
    assert_error(server.post(path, {**PROMPT, **fields}), param=param)
