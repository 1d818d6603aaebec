"""Any bytes in: a clear error out, within a second, and the next request is served as before."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.server.sampling import SamplingFields
from tests.support.server import Answer, Server, as_messages, assert_error, running
from tests.support.strategies import BUDGET, JSON, NUMBERS_OUT_OF_RANGE, OUT_OF_RANGE, WRONG_FIELDS, WRONG_FOR

GOOD = {"prompt": "Once upon a time", "n_predict": 8, "temperature": 0}
PATHS = ("/completion", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/apply-template",
         "/v1/embeddings", "/embedding")  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "--embeddings", "--pooling", "mean")


@pytest.fixture(scope="module")
def good_text(server: Server) -> str:
    return str(server.post("/completion", GOOD).body["content"])


def refused(server: Server, good_text: str, answer: Answer, started: float, statuses: tuple[int, ...] = (400,)) -> None:
    """A refusal in the error shape and in time, after which a good request is served."""
    assert time.monotonic() - started < 1.0
    assert answer.status in statuses, answer.body
    assert_error(answer, answer.status)
    assert server.post("/completion", GOOD).body["content"] == good_text


def served_or_refused(answer: Answer) -> None:
    assert answer.status == 200 or 400 <= answer.status < 500, answer.body
    if answer.status != 200:
        assert_error(answer, answer.status)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"prompt": "x"} x',
        b"\xef\xbb\xbf{}",
        '{"prompt": "x"}'.encode("utf-16"),
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b'{"temperature": NaN}',
        b'{"n_predict": Infinity}',
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"prompt": "x", "n_predict": ' + b"9" * 4000 + b"}",
    ],
)
def test_bytes_that_are_no_request(server: Server, good_text: str, path: str, body: bytes) -> None:
    started = time.monotonic()
    answer = server.post(path, content=body, headers={"content-type": "application/json"})
    refused(server, good_text, answer, started)


# curl calls a body a form unless it is told otherwise.
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_matter_for_json(server: Server, good_text: str, kind: str) -> None:
    answer = server.post("/completion", content=json.dumps(GOOD).encode(), headers={"content-type": kind})
    assert answer.body["content"] == good_text


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/completion", {"prompt": "x", "seed": 2**64}, "seed"),
        ("/completion", {"prompt": "x", "n_predict": -(2**70)}, "n_predict"),
        ("/completion", {"prompt": [2**70]}, "prompt[0]"),
        ("/detokenize", {"tokens": [2**70]}, "tokens[0]"),
    ],
)
def test_whole_numbers_of_more_than_64_bits_are_out_of_range(
    server: Server, path: str, fields: dict[str, Any], param: str
) -> None:
    error = assert_error(server.post(path, content=json.dumps(fields).encode()), 400, param)
    assert "out of range; allowed: " in error["message"]
    # A fraction is what it was: of the wrong type.
    assert "valid integer" in assert_error(server.post("/completion", {"prompt": "x", "seed": 1.5}), 400)["message"]


def test_forms_are_refused(server: Server, good_text: str) -> None:
    started = time.monotonic()
    refused(server, good_text, server.post("/completion", content=None, data={"prompt": "x"}), started, (400, 415))


def test_a_large_body_is_refused_by_its_announced_length(server: Server, good_text: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.putrequest("POST", "/completion")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert "--max-body-bytes" in json.loads(response.read())["error"]["message"]
    connection.close()
    assert server.post("/completion", GOOD).body["content"] == good_text


@BUDGET
@given(field=WRONG_FIELDS)
def test_wrong_types_are_named(server: Server, good_text: str, field: tuple[str, Any]) -> None:
    name, value = field
    started = time.monotonic()
    answer = server.post("/completion", {**GOOD, name: value})
    refused(server, good_text, answer, started)
    assert answer.body["error"]["param"].startswith(name)


@pytest.mark.parametrize(("name", "value"), NUMBERS_OUT_OF_RANGE)
def test_ranges_are_told_with_the_value_as_it_was_sent(server: Server, name: str, value: float) -> None:
    body = {key: given for key, given in GOOD.items() if (key, name) != ("n_predict", "max_tokens")}
    error = server.post("/completion", {**body, name: value}).body["error"]
    assert error["message"].startswith(f"{name}: {value!r} is out of range; allowed: ")
    assert error["param"] == name


def test_every_sampling_field_has_values_that_it_does_not_take() -> None:
    assert set(SamplingFields.model_fields) <= {*WRONG_FOR, "structured_outputs"} | {
        name for name in SamplingFields.model_fields if name.startswith("guided_")
    }


@pytest.mark.parametrize("value", [-1, 2**40, 2**64 - 1])
def test_log_probabilities_out_of_range_are_named_as_in_the_request(server: Server, value: int) -> None:
    chat = {"messages": as_messages("hi"), "logprobs": True, "top_logprobs": value}
    error = server.post("/v1/chat/completions", chat).body["error"]
    assert error["param"] == "top_logprobs"
    # Below the range it is the engine that refuses, which knows of no flags.
    flag = "" if value < 0 else " (--max-logprobs)"
    assert error["message"] == f"top_logprobs: {value} is out of range; allowed: 0 to 1024{flag}"


def test_a_keyword_for_the_template_is_named_with_its_field(server: Server) -> None:
    body = {"messages": as_messages("hi"), "chat_template_kwargs": {"messages": 1}}
    error = server.post("/v1/chat/completions", body).body["error"]
    assert error["param"] == "chat_template_kwargs"
    assert error["message"].startswith("chat_template_kwargs: 'messages' is not allowed; allowed: ")


@BUDGET
@given(field=OUT_OF_RANGE)
def test_values_out_of_range_are_named(server: Server, good_text: str, field: tuple[str, Any]) -> None:
    name, value = field
    body: dict[str, Any] = {"prompt": "Once upon a time", "n_predict": 8}
    if name == "max_tokens":
        del body["n_predict"]
    started = time.monotonic()
    answer = server.post("/completion", {**body, name: value})
    refused(server, good_text, answer, started)
    assert answer.body["error"]["param"].startswith(name)


@BUDGET
@given(value=JSON, path=st.sampled_from(PATHS))
def test_random_json(server: Server, good_text: str, value: Any, path: str) -> None:
    body = {**value, "n_predict": 4} if isinstance(value, dict) else value
    served_or_refused(server.post(path, content=json.dumps(body).encode()))
    assert server.post("/completion", GOOD).body["content"] == good_text


@BUDGET
@given(data=st.binary(max_size=200), path=st.sampled_from(PATHS))
def test_random_bytes(server: Server, good_text: str, data: bytes, path: str) -> None:
    started = time.monotonic()
    refused(server, good_text, server.post(path, content=data), started)


@BUDGET
@given(data=st.data())
def test_mutated_requests(server: Server, good_text: str, data: st.DataObject) -> None:
    text = json.dumps({"messages": as_messages("Book", "Hey"), "max_tokens": 4, "temperature": 0.5, "seed": 1}).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    replacement = data.draw(st.binary(max_size=3))
    mutated = text[:at] + replacement + text[at + data.draw(st.integers(0, 4)) :]
    served_or_refused(server.post("/v1/chat/completions", content=mutated))
    assert server.post("/completion", GOOD).body["content"] == good_text


@BUDGET
@given(messages=st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), JSON), max_size=3))
def test_random_messages(server: Server, messages: Any) -> None:
    served_or_refused(server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 2}))


@pytest.mark.parametrize("prompt", ["", [], [[]], [-1], [512], [True], [1.5], {"a": 1}, 5, None])
def test_bad_prompts(server: Server, good_text: str, prompt: Any) -> None:
    answer = server.post("/completion", {"prompt": prompt, "n_predict": 2})
    if prompt == "":
        # BOS alone is a prompt.
        assert answer.status == 200
    else:
        assert_error(answer)
    assert server.post("/completion", GOOD).body["content"] == good_text


def test_many_prompts_are_capped(server: Server) -> None:
    assert_error(server.post("/completion", {"prompt": ["x"] * 1000}), param="prompt")


def test_nulls_and_unknown_fields_are_ignored(server: Server, good_text: str) -> None:
    body = {**GOOD, "top_k": None, "stop": None, "grammar": None, "no_such_field": {"x": 1}}
    assert server.post("/completion", body).body["content"] == good_text


@pytest.mark.parametrize("body", [{"chat_template": "{{ 1 }}"}, {"chat_template_kwargs": {"messages": []}}])
def test_templates_come_from_the_operator(server: Server, body: dict[str, Any]) -> None:
    assert_error(server.post("/v1/chat/completions", {"messages": as_messages("hi"), **body}))


# NUL, and a key twice.
@pytest.mark.parametrize("inner", [b"\\u0000", b'x", "prompt": "y'])
def test_legal_texts_are_served(server: Server, inner: bytes) -> None:
    assert server.post("/completion", content=b'{"n_predict": 2, "prompt": "' + inner + b'"}').status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_probs", 512 * 100_000),
        ("stop", ["x"] * 500_000),
        ("stop", ["x" * 1_000_000]),
        ("logit_bias", [[5, 1.0]] * 200_000),
        ("top_p", 1e999),
        ("json_schema", {"type": 123}),
        ("json_schema", {"$ref": "http://127.0.0.1:1/schema"}),
        ("json_schema", {"type": "string", "maxLength": 10**9}),
        ("json_schema", {"type": "string", "pattern": "("}),
        ("grammar", 'a ::= "x"'),
        ("grammar", "root ::= missing"),
        ("grammar", 'root ::= "x'),
        ("grammar", 'root ::= root "x" | "x"'),
    ],
)
def test_further_values_are_refused(server: Server, good_text: str, name: str, value: Any) -> None:
    content = json.dumps({"prompt": "Once upon a time", "n_predict": 8, name: value}).encode()
    started = time.monotonic()
    refused(server, good_text, server.post("/completion", content=content), started)


@pytest.mark.parametrize(
    "fields",
    [
        {"json_schema": {"type": "string", "pattern": "(a+)+$"}},
        {"json_schema": {"properties": {f"p{i}": {"type": "integer"} for i in range(10_000)}}},
        {"grammar": 'root ::= ("a" | "a" | a)*\na ::= "a"? "a"? "a"? "a"? "a"? "a"? "a"?'},
        {"prompt": "a" * 10_000_000},
        {"prompt": " ".join(["x"] * 5000)},
    ],
)
def test_heavy_work_is_bounded(server: Server, good_text: str, fields: dict[str, Any]) -> None:
    started = time.monotonic()
    served_or_refused(server.post("/completion", {"prompt": "x", "n_predict": 8, **fields}))
    assert time.monotonic() - started < 5
    assert server.post("/completion", GOOD).body["content"] == good_text


@pytest.mark.parametrize("messages", ["hi", [], [{"role": "pirate", "content": "x"}], [{"role": "user"}], [5],
                                      [{"role": "user", "content": [{"type": "smell"}]}]])  # fmt: skip
def test_bad_messages(server: Server, good_text: str, messages: Any) -> None:
    started = time.monotonic()
    answer = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 2})
    refused(server, good_text, answer, started)
    assert answer.body["error"]["param"].startswith("messages")
