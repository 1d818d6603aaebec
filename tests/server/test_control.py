"""`/v1/chat/completions/control`: a thought is ended while it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import Server, as_messages, assert_error, running

#: The model's answer begins within a thought, and it knows no end of it.
TEMPLATE = "{{ messages[-1].content }}<think>{# </think> #}"
PATH = "/v1/chat/completions"
CONTROL = f"{PATH}/control"
CHAT: dict[str, Any] = {
    "messages": as_messages("Once upon a time"), "stream": True, "seed": 4, "max_tokens": 12_000, "ignore_eos": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2", "--context-shift", "--jinja", "--chat-template", TEMPLATE)


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The chunks of a stream as they come."""
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def end(server: Server, ident: str) -> dict[str, Any]:
    answer = server.post(CONTROL, {"id": ident, "action": "reasoning_end"})
    assert answer.status == 200, answer.body
    return dict(answer.body)


def test_a_thought_ends_and_the_answer_begins(server: Server) -> None:
    body = {**CHAT, "reasoning_control": True, "n": 2}
    thoughts, texts, answer = ["", ""], ["", ""], None
    with server.client.stream("POST", PATH, json=body) as response:
        for event in events(response.iter_lines()):
            for choice in event["choices"]:
                thoughts[choice["index"]] += choice["delta"].get("reasoning_content") or ""
                texts[choice["index"]] += choice["delta"].get("content") or ""
            if answer is None and all(len(thought) > 40 for thought in thoughts):
                assert texts == ["", ""]
                answer = end(server, event["id"])
    assert answer == {"success": True}
    whole = server.chat("Once upon a time", **{**CHAT, "stream": False, "n": 2, "messages": CHAT["messages"]}).body
    for index, choice in enumerate(whole["choices"]):
        assert "</think>" not in thoughts[index] + texts[index]
        assert len(texts[index]) > len(thoughts[index]), "it was soon over"
        assert choice["message"]["content"] == "", "without the call nothing ends it"
        assert choice["message"]["reasoning_content"].startswith(thoughts[index])


def test_a_schema_holds_behind_a_thought_that_was_ended(server: Server) -> None:
    form = {"type": "json_schema", "json_schema": {"schema": {"enum": ["yes", "no"]}}}
    text, ident, answer = "", "", None
    # The end of the schema is the end of the answer.
    body = {**CHAT, "reasoning_control": True, "response_format": form, "ignore_eos": False}
    with server.client.stream("POST", PATH, json=body) as response:
        for event in events(response.iter_lines()):
            ident = event["id"]
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
                if answer is None and choice["delta"].get("reasoning_content"):
                    answer = end(server, ident)
    assert answer == {"success": True}
    assert json.loads(text) in ("yes", "no")
    assert end(server, ident) == {"success": False, "message": "no active completion for this id"}


def test_what_cannot_be_done_is_said(server: Server) -> None:
    with server.client.stream("POST", PATH, json=CHAT) as response:
        stream = events(response.iter_lines())
        ident = next(stream)["id"]
        refused = {"success": False, "message": "reasoning control not enabled for this completion"}
        assert end(server, ident) == refused
    body = {**CHAT, "reasoning_control": True, "thinking_budget_tokens": 0}
    with server.client.stream("POST", PATH, json=body) as response:
        stream = events(response.iter_lines())
        event = next(event for event in stream if event["choices"][0]["delta"].get("content"))
        assert end(server, event["id"]) == {"success": True}, "there is no thought any more"
        assert next(stream)["choices"][0]["delta"]["content"], "and the answer goes on"
    assert end(server, "chatcmpl-nobody") == {"success": False, "message": "no active completion for this id"}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "id", "missing"),
        ({"action": "reasoning_end"}, "id", "missing"),
        ({"id": "", "action": "reasoning_end"}, "id", "missing"),
        ({"id": 5, "action": "reasoning_end"}, "id", "5"),
        ({"id": "x"}, "action", "allowed: 'reasoning_end'"),
        ({"id": "x", "action": "stop"}, "action", "'stop' is unknown; allowed: 'reasoning_end'"),
        ({"id": "x", "action": ["reasoning_end"]}, "action", "string"),
    ],
)
def test_bad_requests(server: Server, body: dict[str, Any], param: str, words: str) -> None:
    error = assert_error(server.post(CONTROL, body), 400, param)
    assert error["message"].startswith(f"{param}: ")
    assert words in error["message"]


def test_the_field_is_checked(server: Server) -> None:
    assert_error(server.post(PATH, {**CHAT, "reasoning_control": "yes"}), 400, "reasoning_control")
