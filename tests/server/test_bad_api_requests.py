"""Any JSON in, to the APIs that are translations: an answer or an error in their own shape out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from rustllm.server.answers import Error
from rustllm.server.anthropic.schemas import CountTokensRequest, MessageError, MessagesRequest
from rustllm.server.ollama.schemas import ChatRequest, GenerateRequest, OllamaError, ShowRequest
from rustllm.server.openai.chat.schemas import ChatRequest as ChatCompletion
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest
from rustllm.server.openai.responses.schemas import ResponsesRequest
from tests.support.server import Answer, Server, running
from tests.support.strategies import BUDGET, JSON

TURNS = [{"role": "user", "content": "Hey"}]
OPTIONS = {"num_predict": 2}

#: Each route with its request, what makes a request whole and short, and the shape of its errors.
ROUTES: dict[str, tuple[type[BaseModel], dict[str, Any], type[BaseModel]]] = {
    "/v1/messages": (MessagesRequest, {"messages": TURNS, "max_tokens": 2}, MessageError),
    "/v1/messages/count_tokens": (CountTokensRequest, {"messages": TURNS}, MessageError),
    "/v1/responses": (ResponsesRequest, {"input": "Hey", "max_output_tokens": 2}, Error),
    "/v1/responses/input_tokens": (ResponsesRequest, {"input": "Hey"}, Error),
    "/v1/chat/completions": (ChatCompletion, {"messages": TURNS, "max_tokens": 2}, Error),
    "/v1/completions": (OpenAICompletionRequest, {"prompt": "Hey", "max_tokens": 2}, Error),
    "/api/chat": (ChatRequest, {"messages": TURNS, "options": OPTIONS, "stream": False}, OllamaError),
    "/api/generate": (GenerateRequest, {"prompt": "Hey", "options": OPTIONS, "stream": False}, OllamaError),
    "/api/show": (ShowRequest, {}, OllamaError),
}
#: What bounds an answer stays as it is.
BOUNDS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "options",
    "stream",
    "n_predict",
    "n",
    "n_cmpl",
    "best_of",
)
FIELDS = [
    (path, name) for path, (request, _, _) in ROUTES.items() for name in request.model_fields if name not in BOUNDS
]

#: Parts of requests, so that some values come near to what is expected.
PARTS = st.recursive(
    JSON | st.sampled_from(["text", "user", "assistant", "tool", "function", "tool_use", "tool_result", "any", "auto"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "role", "content", "text", "name", "function", "parameters", "input_schema", "input",
                         "id", "call_id", "arguments", "tool_use_id", "tool_calls", "output", "source", "format",
                         "schema", "thinking", "summary", "tools", "mode"]),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2")


@pytest.fixture(scope="module")
def good(server: Server) -> dict[str, Any]:
    return {path: server.post(path, body).body for path, (_, body, _) in ROUTES.items()}


def check(path: str, answer: Answer) -> None:
    """An answer, or an error of the route's shape that blames the request."""
    assert answer.status == 200 or 400 <= answer.status < 500, answer.body
    if answer.status != 200:
        ROUTES[path][2].model_validate(answer.body, strict=True)


@BUDGET
@given(field=st.sampled_from(FIELDS), value=PARTS)
@example(field=("/v1/messages", "tools"), value=[{"name": "x", "input_schema": {"$ref": "#"}}])
@example(field=("/v1/responses", "tools"), value=[{"type": "function", "name": "x", "parameters": {"$ref": "#"}}])
@example(field=("/api/chat", "tools"), value=[{"function": {"name": "x", "parameters": {"$ref": "#"}}}])
@example(field=("/api/chat", "format"), value={"$ref": "#"})
def test_any_value_in_any_field(server: Server, field: tuple[str, str], value: Any) -> None:
    path, name = field
    started = time.monotonic()
    check(path, server.post(path, {**ROUTES[path][1], name: value}))
    assert time.monotonic() - started < 5


@BUDGET
@given(path=st.sampled_from(sorted(ROUTES)), data=st.binary(max_size=100) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_body(server: Server, path: str, data: bytes) -> None:
    check(path, server.post(path, content=data))


@pytest.mark.parametrize("path", ROUTES)
def test_nothing_harms_the_next_request(server: Server, good: dict[str, Any], path: str) -> None:
    _, body, shape = ROUTES[path]
    for data in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": "\xff"}',
        b"[" * 100_000,
        b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
    ):
        answer = server.post(path, content=data, headers={"content-type": "application/json"})
        assert answer.status == 400
        shape.model_validate(answer.body, strict=True)
    assert server.post(path, body).body.keys() == good[path].keys()


@pytest.mark.parametrize("path", ROUTES)
def test_null_is_absent(server: Server, path: str) -> None:
    request, body, _ = ROUTES[path]
    answer = server.post(path, {**dict.fromkeys(request.model_fields), "no_such_field": {}, **body})
    assert answer.status == 200, answer.body
