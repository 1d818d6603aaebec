"""Each limit has a flag, is told by `/props`, and is named by the error of what exceeds it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rustllm.limits import TABLE
from tests.support.server import Server, as_messages, assert_error, running

#: What the server of these tests allows, by the names in `/props`.
SMALL = {
    "body_bytes": 20_000, "all_bodies_bytes": 2 << 20, "header_bytes": 2048,
    "header_seconds": 2, "body_seconds": 30, "request_seconds": 2,
    "connections": 24, "queue": 3, "json_depth": 12, "json_brackets": 150, "json_commas": 150,
    "prompts": 2, "messages": 3, "token_ids": 110, "tokenize_bytes": 150, "list_entries": 5,
    "inputs": 3, "choices": 2, "stop_strings": 2,
    "biases": 3, "logprobs": 4, "answer_logprobs": 200, "tools": 2, "schema_bytes": 200, "schema_depth": 6,
    "grammar_bytes": 80, "grammar_depth": 3, "mask_ms": 1,
}  # fmt: skip
FLAGS = {row.name: row.shown for row in TABLE}

PROMPT = {"prompt": "Once upon a time", "n_predict": 2, "temperature": 0}
CHAT = {"messages": as_messages("Hi"), "max_tokens": 2}
MESSAGES = {"messages": as_messages("Hi"), "max_tokens": 2}
OLLAMA = {"messages": as_messages("Hi"), "stream": False, "options": {"num_predict": 2}}


def deep(levels: int) -> dict[str, Any]:
    """A schema of so many levels of objects, of two levels at least."""
    inner: dict[str, Any] = {"type": "object"}
    for _ in range(levels - 1):
        inner = {"not": inner}
    return inner


def tool(i: int, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{i}", "parameters": parameters or {"type": "object"}}}


def anthropic_tool(i: int) -> dict[str, Any]:
    return {"name": f"f{i}", "input_schema": {"type": "object"}}


#: A turn of Anthropic's that becomes four messages.
RESULTS = [{"type": "tool_result", "tool_use_id": "a", "content": "x"}] * 4

LONG = {"type": "string", "description": "x" * 300}
CALLED = {"type": "function", "name": "f", "parameters": LONG}

#: The limit, the endpoint with a request that is served, what is too much, and the place that the error names.
TOO_MUCH: list[tuple[str, str, dict[str, Any], Any, str]] = [
    ("prompts", "/completion", PROMPT, {"prompt": ["a"] * 3}, "prompt"),
    ("prompts", "/v1/completions", PROMPT, {"prompt": [[1]] * 3}, "prompt"),
    ("messages", "/v1/chat/completions", CHAT, {"messages": as_messages("Hi") * 4}, "messages"),
    ("messages", "/v1/messages", MESSAGES, {"messages": as_messages("Hi") * 4}, "messages"),
    ("messages", "/v1/messages", MESSAGES, {"messages": [{"role": "user", "content": RESULTS}]}, "messages"),
    ("messages", "/v1/responses", {"input": "a", "max_output_tokens": 2}, {"input": as_messages("Hi") * 4}, "input"),
    ("messages", "/api/chat", OLLAMA, {"messages": as_messages("Hi") * 4}, "messages"),
    ("messages", "/apply-template", {"messages": as_messages("Hi")}, {"messages": as_messages("Hi") * 4}, "messages"),
    ("token_ids", "/completion", PROMPT, {"prompt": [5] * 111}, "prompt"),
    ("token_ids", "/completion", PROMPT, {"prompt": ["a", [5] * 111]}, "prompt"),
    ("token_ids", "/completion", PROMPT, {"prompt": [5, *["a"] * 110]}, "prompt"),
    ("token_ids", "/v1/embeddings", {"input": "a"}, {"input": [5] * 111}, "input"),
    ("token_ids", "/detokenize", {"tokens": [5]}, {"tokens": [5] * 111}, "tokens"),
    ("token_ids", "/tokenize", {"content": "a"}, {"content": [5] * 111}, "content"),
    ("token_ids", "/tokenize", {"content": "a"}, {"content": "\n" * 120, "with_pieces": True}, "content"),
    ("token_ids", "/tokenize", {"prompt": "a"}, {"prompt": "\n" * 120, "return_token_strs": True}, "prompt"),
    ("tokenize_bytes", "/tokenize", {"content": "a"}, {"content": "a" * 151}, "content"),
    ("tokenize_bytes", "/tokenize", {"content": "a"}, {"content": ["é" * 40, "é" * 40]}, "content"),
    ("tokenize_bytes", "/tokenize", {"prompt": "a"}, {"prompt": "a" * 151}, "prompt"),
    ("list_entries", "/completion", PROMPT, {"stop_token_ids": [1] * 6}, "stop_token_ids"),
    ("list_entries", "/v1/chat/completions", CHAT, {"guided_choice": ["a"] * 6}, "guided_choice"),
    ("list_entries", "/lora-adapters", {}, [{"id": 0, "scale": 1.0}] * 6, "body"),
    ("inputs", "/v1/embeddings", {"input": "a"}, {"input": ["a"] * 4}, "input"),
    ("inputs", "/embedding", {"content": "a"}, {"content": ["a"] * 4}, "content"),
    ("inputs", "/api/embed", {"input": "a"}, {"input": ["a"] * 4}, "input"),
    ("inputs", "/v1/rerank", {}, {"query": "a", "documents": ["a"] * 4}, "documents"),
    ("inputs", "/rerank", {}, {"query": "a", "texts": ["a"] * 4}, "texts"),
    ("choices", "/completion", PROMPT, {"n_cmpl": 3}, "n_cmpl"),
    ("choices", "/v1/chat/completions", CHAT, {"n": 10**9}, "n"),
    ("stop_strings", "/v1/chat/completions", CHAT, {"stop": ["a", "b", "c"]}, "stop"),
    ("stop_strings", "/v1/messages", MESSAGES, {"stop_sequences": ["a", "b", "c"]}, "stop_sequences"),
    ("stop_strings", "/api/chat", OLLAMA, {"options": {"stop": ["a", "b", "c"]}}, "options.stop"),
    ("biases", "/completion", PROMPT, {"logit_bias": [[1, 1.0]] * 4}, "logit_bias"),
    ("biases", "/v1/chat/completions", CHAT, {"logit_bias": {"1": 1, "2": 1, "3": 1, "4": 1}}, "logit_bias"),
    ("logprobs", "/completion", PROMPT, {"n_probs": 5}, "n_probs"),
    ("logprobs", "/v1/completions", PROMPT, {"logprobs": 5}, "logprobs"),
    ("logprobs", "/v1/completions", PROMPT, {"prompt_logprobs": 5}, "prompt_logprobs"),
    ("logprobs", "/v1/chat/completions", CHAT, {"logprobs": True, "top_logprobs": 5}, "top_logprobs"),
    ("logprobs", "/v1/responses", {"input": "a", "max_output_tokens": 2}, {"top_logprobs": 5}, "top_logprobs"),
    ("answer_logprobs", "/completion", PROMPT, {"n": 2, "n_probs": 4, "n_predict": 26}, "n_probs"),
    ("answer_logprobs", "/completion", PROMPT, {"prompt": ["a", "b"], "n_probs": 4, "n_predict": 26}, "n_probs"),
    ("answer_logprobs", "/v1/completions", PROMPT, {"n": 2, "logprobs": 4, "n_predict": 26}, "logprobs"),
    ("answer_logprobs", "/v1/completions", PROMPT, {"prompt": [[5] * 26] * 2, "echo": True, "logprobs": 4}, "logprobs"),
    ("answer_logprobs", "/v1/chat/completions", CHAT, {"logprobs": True, "top_logprobs": 4, "max_tokens": 51},
     "top_logprobs"),
    ("answer_logprobs", "/v1/responses", {"input": "a", "max_output_tokens": 2},
     {"top_logprobs": 4, "include": ["message.output_text.logprobs"], "max_output_tokens": 51}, "top_logprobs"),
    ("answer_logprobs", "/v1/responses", {"input": "a", "max_output_tokens": 2},
     {"top_logprobs": 4, "include": ["message.output_text.logprobs"], "max_output_tokens": 51, "stream": True},
     "top_logprobs"),
    ("answer_logprobs", "/api/chat", OLLAMA, {"logprobs": True, "top_logprobs": 4, "options": {"num_predict": 51}},
     "top_logprobs"),
    ("tools", "/v1/chat/completions", CHAT, {"tools": [tool(i) for i in range(3)]}, "tools"),
    ("tools", "/apply-template", {"messages": as_messages("Hi")}, {"tools": [tool(i) for i in range(3)]}, "tools"),
    ("tools", "/v1/messages", MESSAGES, {"tools": [anthropic_tool(i) for i in range(3)]}, "tools"),
    ("tools", "/api/chat", OLLAMA, {"tools": [tool(i) for i in range(3)]}, "tools"),
    ("schema_bytes", "/completion", PROMPT, {"json_schema": LONG}, "json_schema"),
    ("schema_bytes", "/v1/chat/completions", CHAT, {"guided_json": json.dumps(LONG)}, "guided_json"),
    ("schema_bytes", "/v1/chat/completions", CHAT, {"structured_outputs": {"json": LONG}}, "structured_outputs.json"),
    ("schema_bytes", "/v1/chat/completions", CHAT, {"tools": [tool(1), tool(2, LONG)]},
     "tools[1].function.parameters"),
    ("schema_bytes", "/v1/responses", {"input": "a", "max_output_tokens": 2}, {"tools": [CALLED]},
     "tools[0].parameters"),
    ("schema_bytes", "/api/chat", OLLAMA, {"format": LONG}, "format"),
    ("schema_depth", "/completion", PROMPT, {"json_schema": deep(7)}, "json_schema"),
    ("schema_depth", "/v1/completions", PROMPT, {"guided_json": json.dumps(deep(7))}, "guided_json"),
    ("schema_depth", "/v1/chat/completions", CHAT,
     {"response_format": {"type": "json_schema", "json_schema": {"schema": deep(7)}}},
     "response_format.json_schema.schema"),
    ("grammar_bytes", "/completion", PROMPT, {"grammar": 'root ::= "a"\n' + "#" * 80}, "grammar"),
    ("grammar_depth", "/completion", PROMPT, {"grammar": 'root ::= ("(" [(] (("a"\n  ("b"))))'}, "grammar"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = [word for name, value in SMALL.items() for word in (FLAGS[name], str(value))]
    yield from running("-c", "4096", "-np", "2", "--context-shift", "--embeddings", "--pooling", "mean", *flags)


def test_every_limit_is_told(server: Server) -> None:
    assert server.get("/props").body["limits"] == SMALL
    assert set(SMALL) == {row.name for row in TABLE}


@pytest.mark.parametrize(
    ("name", "path", "good", "fields", "place"), TOO_MUCH, ids=[f"{one[1]} {one[4]}" for one in TOO_MUCH]
)
def test_what_is_too_much_is_named_with_the_flag(
    server: Server, name: str, path: str, good: dict[str, Any], fields: Any, place: str
) -> None:
    answer = server.post(path, {**good, **fields} if isinstance(fields, dict) else fields)
    assert answer.status == 400, answer.body
    # Anthropic and Ollama have no place for the field beside the message.
    error = answer.body["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith(f"{place}: ")
    assert message.endswith(f"{SMALL[name]} ({FLAGS[name]})")
    if good:
        assert server.post(path, good).status == 200


def test_what_is_just_not_too_much_is_served(server: Server) -> None:
    fields = {
        "stop": ["zz", "zy"], "logit_bias": [[1, 1.0]] * 3, "n_probs": 4, "n": 2,
        "json_schema": {"type": "object", "properties": {"a": {"enum": [{"b": [1]}]}}},
    }  # fmt: skip
    assert server.post("/completion", {**PROMPT, **fields}).status == 200
    assert server.post("/completion", {**PROMPT, "grammar": 'root ::= ((("a" "((((")))'}).status == 200
    assert server.post("/v1/completions", {**PROMPT, "prompt": ["a", "b"]}).status == 200
    # All log probabilities that are allowed, to the last.
    every = {"n": 2, "n_probs": 4, "n_predict": 25, "ignore_eos": True}
    assert server.post("/completion", {**PROMPT, **every}).body[0]["tokens_predicted"] == 25
    # Many token ids are one prompt, and one text.
    assert server.post("/completion", {**PROMPT, "prompt": [5] * 100}).status == 200
    assert server.post("/v1/embeddings", {"input": [5] * 100}).status == 200


def test_an_answer_without_a_limit_is_counted_while_it_is_made(server: Server) -> None:
    # With a context that is shifted it has no end; 200 of its own and no more are kept.
    answer = server.post("/completion", {**PROMPT, "n_predict": -1, "n_probs": 1, "ignore_eos": True})
    assert_error(answer, 400)
    assert "--max-answer-logprobs" in answer.body["error"]["message"]


def test_places_in_grammars(server: Server) -> None:
    deep = assert_error(server.post("/completion", {**PROMPT, "grammar": 'root ::= ("(" [(] (("a"\n  ("b"))))'}))
    assert "line 2, column 3: nested too deep: it has 4 levels" in deep["message"]
    long = assert_error(server.post("/completion", {**PROMPT, "grammar": 'root ::= "a"\n' + "#" * 80}))
    assert "line 2, column 68: it has 93 bytes" in long["message"]


@pytest.mark.parametrize(
    ("name", "status", "content"),
    [
        ("body_bytes", 413, b'{"prompt": "' + b"x" * 20_000 + b'"}'),
        ("json_depth", 400, b'{"prompt": "x", "y": ' + b"[" * 12 + b"]" * 12 + b"}"),
        ("json_brackets", 400, b'{"prompt": "x", "y": [' + b"[]," * 149 + b"[]]}"),
        ("json_commas", 400, b'{"prompt": "x", "y": [' + b"0," * 150 + b"0]}"),
    ],
)
def test_bodies(server: Server, name: str, status: int, content: bytes) -> None:
    assert f"({FLAGS[name]})" in assert_error(server.post("/completion", content=content), status)["message"]
    chunks = (content[at : at + 999] for at in range(0, len(content), 999))
    assert f"({FLAGS[name]})" in assert_error(server.post("/completion", content=chunks), status)["message"]


def test_headers_that_are_too_large(server: Server) -> None:
    error = assert_error(server.get("/health", headers={"x": "y" * 3000}), 431)
    assert "2048 bytes (--max-header-bytes)" in error["message"]


def test_headers_that_take_too_long(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        started = time.monotonic()
        answer = connection.recv(4096)
    assert 1 < time.monotonic() - started < 6
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"2 seconds (--header-timeout)" in answer


def test_answers_that_take_too_long(server: Server) -> None:
    endless = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True}
    started = time.monotonic()
    answer = server.post("/completion", endless)
    assert time.monotonic() - started < 10
    error = assert_error(answer, 408)
    assert error["message"] == "the answer took too long; allowed: up to 2 seconds (--max-request-seconds)"
    assert answer.headers["x-should-retry"] == "false"
    *_, last = server.stream("/completion", endless)
    assert last["error"]["message"] == error["message"]
    deadline = time.monotonic() + 5
    while any(slot["is_processing"] for slot in server.get("/slots").body):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_more_connections_than_allowed(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        server.client.close()
        server.client = httpx.Client(base_url=server.url, timeout=60)
        for _ in range(SMALL["connections"]):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            stack.callback(connection.close)
            connection.connect()
        time.sleep(0.2)
        error = assert_error(server.get("/health"), 503)
        assert error["message"] == "24 connections are open; allowed: up to 24 (--max-connections)"
    deadline = time.monotonic() + 5
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/health").status_code == 200:
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_masks_that_take_too_long(server: Server) -> None:
    # Each letter can be read in more and more ways. It is work that counts, so it ends at the same token each time.
    ways = "root ::= [a-z ]* | a* | b*\na ::= [a-z ]{1,5000} | b\nb ::= [a-z ]{1,5000} a?"
    heavy = {**PROMPT, "n_predict": 200, "ignore_eos": True, "grammar": ways}
    counts = set()
    for _ in range(2):
        error = assert_error(server.post("/completion", heavy), 400, "grammar")
        assert error["message"] == "grammar: too much work for one token (--max-mask-ms)"
        *events, last = server.stream("/completion", heavy)
        assert last["error"]["message"] == error["message"]
        counts.add(len(events))
    assert len(counts) == 1
    assert server.post("/completion", {**PROMPT, "grammar": 'root ::= "a"+'}).status == 200


def test_the_queue_names_its_flag() -> None:
    for one in running("-c", "512", "-np", "1", "--max-queue", "0", "--context-shift"):
        body = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}
        with httpx.Client(base_url=one.url) as client, client.stream("POST", "/completion", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            assert "(--max-queue)" in assert_error(one.post("/completion", PROMPT), 429)["message"]
