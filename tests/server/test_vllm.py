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


def prompt_logprobs(body: dict[str, Any]) -> list[Any]:
    """The prompt's part of an answer of either endpoint."""
    found = body["prompt_logprobs"] if "prompt_logprobs" in body else body["choices"][0]["prompt_logprobs"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("n", [0, 3])
def test_log_probabilities_of_the_prompt(server: Server, path: str, n: int) -> None:
    plain = server.post(path, {**ROUTES[path], "seed": 1}).body
    assert "prompt_logprobs" not in {**plain, **plain["choices"][0]}
    answer = server.post(path, {**ROUTES[path], "seed": 1, "prompt_logprobs": n, "n": 2})
    assert answer.status == 200, answer.body
    for choice, same in zip(answer.body["choices"], plain["choices"] * 2, strict=True):
        assert choice.get("text") == same.get("text"), "the answer is the same"
        assert choice.get("message") == same.get("message")
    first, *rest = prompt_logprobs(answer.body)
    asked = {name: value for name, value in ROUTES[path].items() if name in ("prompt", "messages")}
    ids = server.post("/tokenize", {**asked, "return_token_strs": True}).body["tokens"]
    assert first is None
    assert len(rest) == len(ids) - 1 == answer.body["usage"]["prompt_tokens"] - 1
    assert answer.body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, "the prompt is computed"
    for token, place in zip(ids[1:], rest, strict=True):
        own = place[str(token)]
        assert own["logprob"] < 0
        assert own["rank"] >= 1
        assert len(place) == (n if own["rank"] <= n else n + 1)
        ranks = sorted(entry["rank"] for entry in place.values())
        assert ranks[:n] == list(range(1, n + 1))
        by_rank = [entry["logprob"] for _, entry in sorted((entry["rank"], entry) for entry in place.values())]
        assert by_rank == sorted(by_rank, reverse=True)


def test_a_prompt_has_the_log_probabilities_of_the_same_text_generated(server: Server) -> None:
    body = {"prompt": "Once upon a time", "n_predict": 100, "temperature": 0, "n_probs": 2, "ignore_eos": True}
    made = server.post("/completion", {**body, "return_tokens": True}).body
    start = server.post("/tokenize", {"prompt": "Once upon a time"}).body["tokens"]
    asking = {"prompt": [*start, *made["tokens"]], "max_tokens": 1, "prompt_logprobs": 2}
    scored = prompt_logprobs(server.post("/v1/completions", asking).body)[len(start) :]
    assert len(scored) == 100
    for place, generated in zip(scored, made["completion_probabilities"], strict=True):
        best = {str(entry["id"]): entry["logprob"] for entry in generated["top_logprobs"]}
        assert {token: entry["logprob"] for token, entry in place.items()} == best
        own = place[str(generated["id"])]
        assert (own["rank"], own["decoded_token"]) == (1, generated["token"])


def test_log_probabilities_of_a_prompt_are_bounded_in_all(server: Server) -> None:
    long = {"prompt": [403] * 400, "max_tokens": 1, "prompt_logprobs": 1000}
    error = assert_error(server.post("/v1/completions", long), 400, "prompt_logprobs")
    assert "1000 for 400 tokens" in error["message"]
    assert "up to 654" in error["message"]
    assert server.post("/v1/completions", {**long, "prompt_logprobs": 654}).status == 200


def test_tokens_in_vllms_shape(server: Server) -> None:
    text = "Once upon<s> a time"
    body = server.post("/tokenize", {"model": "x", "prompt": text}).body
    assert body == {"count": len(body["tokens"]), "max_model_len": 512, "tokens": body["tokens"], "token_strs": None}
    assert body["tokens"] == server.post("/tokenize", {"content": text, "add_special": True}).body["tokens"]
    bare = server.post("/tokenize", {"prompt": text, "add_special_tokens": False, "return_token_strs": True}).body
    assert bare["tokens"] == body["tokens"][1:]
    assert bare["token_strs"][0] == "▁Once"
    assert "<s>" in bare["token_strs"]
    assert len(bare["token_strs"]) == bare["count"]
    plain = server.post("/tokenize", {"prompt": "Once upon a time", "add_special_tokens": False}).body["tokens"]
    back = server.post("/detokenize", {"model": "x", "tokens": plain}).body
    assert back["prompt"] == back["content"]
    assert back["prompt"].strip() == "Once upon a time"
    assert server.post("/tokenize", {"prompt": ""}).body["count"] == 1


def test_tokens_of_a_chat(server: Server) -> None:
    chat = {"messages": as_messages("Be kind.", "Hey")}
    counted = server.post("/v1/chat/completions/input_tokens", chat).body["input_tokens"]
    assert server.post("/tokenize", chat).body["count"] == counted
    shorter = server.post("/tokenize", {**chat, "add_generation_prompt": False}).body
    assert shorter["count"] < counted
    assert server.post("/tokenize", {**chat, "add_special_tokens": False}).body["count"] == counted - 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "content"),
        ({"prompt": None, "messages": None, "content": None}, "content"),
        ({"prompt": "x", "content": "x"}, "prompt"),
        ({"prompt": "x", "messages": as_messages("x")}, "messages"),
        ({"prompt": ["x"]}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"prompt": "x", "return_token_strs": "yes"}, "return_token_strs"),
        ({"prompt": "x", "add_special_tokens": 1}, "add_special_tokens"),
        ({"messages": as_messages("x"), "chat_template": "x"}, "chat_template"),
    ],
)
def test_texts_that_are_not_cut(server: Server, fields: dict[str, Any], param: str) -> None:
    error = assert_error(server.post("/tokenize", fields), 400, param)
    assert error["message"].startswith(f"{param}: ")


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
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs", ["1", "stream"]),
        ({"prompt_logprobs": -1}, "prompt_logprobs", ["-1", "0 to 1024"]),
        ({"prompt_logprobs": 5000}, "prompt_logprobs", ["5000", "0 to 1024"]),
        ({"prompt_logprobs": "1"}, "prompt_logprobs", ["'1'"]),
        ({"prompt_logprobs": True}, "prompt_logprobs", ["True"]),
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
