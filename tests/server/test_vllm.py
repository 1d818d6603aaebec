"""vLLM's fields, as its clients send them beside OpenAI's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import openai
import pytest

from rustllm.server.vllm.schemas import Version
from tests.support.server import Server, as_messages, assert_error, running

SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": as_messages("Once upon a time"), "max_tokens": 60, "temperature": 0},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 60, "temperature": 0},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2")


def text_of(server: Server, path: str, **fields: Any) -> tuple[str, str]:
    """The text of an answer and why it ended."""
    answer = server.post(path, {**ROUTES[path], **fields})
    assert answer.status == 200, answer.body
    (choice,) = answer.body["choices"]
    return choice["text"] if "text" in choice else choice["message"]["content"], choice["finish_reason"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("form", ["guided_{}", "structured_outputs"])
def test_what_an_answer_must_be(server: Server, path: str, form: str) -> None:
    def asked(name: str, value: Any) -> tuple[str, str]:
        fields = {form: {name: value}} if form == "structured_outputs" else {form.format(name): value}
        return text_of(server, path, **fields)

    for schema in (SCHEMA, json.dumps(SCHEMA)):
        text, reason = asked("json", schema)
        jsonschema.validate(json.loads(text), SCHEMA)
        assert reason == "stop"
    for regex in (r"[0-9]{3}-[a-z]{2,5}", r"a/b\/[/]\\\d", "one\ntwo|three\\\n", r"(é|ü){2}"):
        text, reason = asked("regex", regex)
        assert re.fullmatch(regex, text)
        assert reason == "stop"
    for choice in (["yes", "no"], ['a "quoted"\\\n\ttext', "x"], ["\x00\x7fé", "\x01"], ["one", "one more"]):
        assert asked("choice", choice)[0] in choice
    assert asked("grammar", 'root ::= "ab" [0-9]')[0][:2] == "ab"


def test_any_object(server: Server) -> None:
    text, _ = text_of(server, "/v1/chat/completions", structured_outputs={"json_object": True}, max_tokens=300)
    assert text.lstrip().startswith("{")


def test_the_client_sends_them_in_the_extra_body(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    answer = client.chat.completions.create(
        model="story", messages=[{"role": "user", "content": "Yes?"}], extra_body={"guided_choice": ["yes", "no"]}
    )
    assert answer.choices[0].message.content in ("yes", "no")


@pytest.mark.parametrize("path", ROUTES)
def test_the_least_number_of_tokens(server: Server, path: str) -> None:
    text, _ = text_of(server, path)
    word = text.split()[1]
    short, reason = text_of(server, path, stop=word)
    assert reason == "stop"
    longer, _ = text_of(server, path, stop=word, min_tokens=30)
    assert longer.startswith(short + word)
    # A grammar that ends goes before it.
    assert text_of(server, path, guided_choice=["yes"], min_tokens=30) == ("yes", "stop")


@pytest.mark.parametrize("path", ROUTES)
def test_stop_tokens(server: Server, path: str) -> None:
    text, _ = text_of(server, path)
    answer = server.post("/completion", {"prompt": "Once upon a time", "n_predict": 60, "temperature": 0})
    (token,) = server.post("/tokenize", {"content": ".", "add_special": False}).body["tokens"][-1:]
    at = text.index(".")
    assert answer.status == 200
    assert text_of(server, path, stop_token_ids=[token]) == (text[:at], "stop")
    assert text_of(server, path, stop_token_ids=[token], include_stop_str_in_output=True) == (text[: at + 1], "stop")
    after, _ = text_of(server, path, stop_token_ids=[token], min_tokens=60)
    assert "." not in after


def test_stop_strings_in_the_text(server: Server) -> None:
    path = "/v1/completions"
    text, _ = text_of(server, path)
    word = text.split()[2]
    at = text.index(word)
    assert text_of(server, path, stop=word) == (text[:at], "stop")
    assert text_of(server, path, stop=word, include_stop_str_in_output=True) == (text[: at + len(word)], "stop")
    events = server.stream(path, {**ROUTES[path], "stop": word, "include_stop_str_in_output": True})
    assert "".join(event["choices"][0]["text"] for event in events if event["choices"]) == text[: at + len(word)]


def test_the_version(server: Server) -> None:
    Version.model_validate(server.get("/version").body, strict=True)


TOOL = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"guided_json": {"type": 5}}, "guided_json", ["5"]),
        ({"guided_json": "{"}, "guided_json", ["JSON"]),
        ({"guided_regex": "("}, "guided_regex", ["'('", "regular"]),
        ({"guided_regex": "a(?=b)"}, "guided_regex", ["'a(?=b)'", "ahead"]),
        ({"guided_regex": 5}, "guided_regex", ["5"]),
        ({"guided_regex": "a" * 100_000}, "guided_regex", ["100000", "65536"]),
        ({"guided_choice": []}, "guided_choice", ["[]"]),
        ({"guided_choice": ["a", ""]}, "guided_choice", ["['a', '']"]),
        ({"guided_choice": "yes"}, "guided_choice", ["'yes'"]),
        ({"guided_choice": ["x" * 70_000]}, "guided_choice", ["65536"]),
        ({"guided_grammar": "root ::= ("}, "guided_grammar", []),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice", ["guided_regex", "only one"]),
        ({"structured_outputs": 5}, "structured_outputs", ["5"]),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", ["'('"]),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", ["[]"]),
        ({"prompt_logprobs": 1}, "prompt_logprobs", ["1"]),
        ({"min_tokens": -1}, "min_tokens", ["-1"]),
        ({"stop_token_ids": [512]}, "stop_token_ids", ["512", "511"]),
        ({"stop_token_ids": [1] * 100}, "stop_token_ids", ["100", "64"]),
        ({"include_stop_str_in_output": "yes"}, "include_stop_str_in_output", ["'yes'"]),
    ],
)
def test_what_is_refused(server: Server, path: str, fields: dict[str, Any], param: str, words: list[str]) -> None:
    error = assert_error(server.post(path, {**ROUTES[path], **fields}), 400, param)
    for word in (param, *words):
        assert word in error["message"]


def test_tools_have_a_grammar_of_their_own(server: Server) -> None:
    body = {**ROUTES["/v1/chat/completions"], "tools": [TOOL], "guided_regex": "a"}
    assert_error(server.post("/v1/chat/completions", body), 400, "guided_regex")
