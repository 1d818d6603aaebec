"""docs/conformance.md says what the server does: a live one is asked about every field in it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from scripts.conformance import TARGET, Endpoint, Field, document, endpoints, unknown, variants

from tests.support.embeddings import RANK
from tests.support.model_file import fim_model
from tests.support.server import Answer, Server, running

TURNS = [{"role": "user", "content": "Once upon a time"}]
SHORT = {"temperature": 0, "seed": 1, "n_predict": 4}

#: What makes a request of each endpoint whole, and its answer short and the same each time.
REQUESTS: dict[str, dict[str, Any]] = {
    "POST /v1/chat/completions": {"messages": TURNS, **SHORT},
    "POST /v1/chat/completions/input_tokens": {"messages": TURNS},
    "POST /v1/responses": {"input": "Hey", **SHORT},
    "POST /v1/responses/input_tokens": {"input": "Hey"},
    "POST /v1/completions": {"prompt": "Hey", **SHORT},
    "POST /v1/messages": {"messages": TURNS, "max_tokens": 4, "temperature": 0},
    "POST /v1/messages/count_tokens": {"messages": TURNS},
    "POST /api/chat": {"messages": TURNS, "stream": False, "options": {"num_predict": 4, "temperature": 0}},
    "POST /api/generate": {"prompt": "Hey", "stream": False, "options": {"num_predict": 4, "temperature": 0}},
    "POST /api/show": {},
    "POST /completion": {"prompt": "Hey", **SHORT},
    "POST /infill": {"input_prefix": "a", "input_suffix": "b", **SHORT},
    "POST /tokenize": {"messages": TURNS},
    "POST /detokenize": {"tokens": [1, 2]},
    "POST /apply-template": {"messages": TURNS},
    "POST /slots/{id_slot}": {"filename": "x"},
    "POST /v1/embeddings": {"input": "Hey"},
    "POST /embedding": {"content": "Hey"},
    "POST /v1/rerank": {"query": "a", "documents": ["b"]},
    "POST /api/embed": {"input": "Hey"},
    "POST /api/embeddings": {"prompt": "Hey"},
    "POST /v1/streams/lookup": {"conversation_ids": ["x"]},
    "POST /v1/chat/completions/control": {"id": "x", "action": "reasoning_end"},
}
#: Endpoints that refuse whatever they are sent.
REFUSED = {"POST /v1/audio/transcriptions": 501}
#: Fields that stand instead of others.
INSTEAD = {"POST /tokenize": {"content": "messages", "prompt": "messages"}}
#: What stands around a field besides what its schema asks for. Types are those that descriptions begin with.
PARENTS: dict[str, dict[str, Any]] = {
    "response_format": {"type": "json_object"},
    "input[]": {"role": "user", "content": "x", "call_id": "x", "name": "x", "arguments": "{}", "output": "x"},
    "messages[].content[]": {"type": "text", "text": "x", "id": "x", "name": "x", "input": {}, "tool_use_id": "x"},
}
#: What differs between two answers to one request.
VOLATILE = re.compile(r"(^|_)(id|created|at|timings|duration|usage|cached|cache_n|signature)$")
#: What an answer of `/v1/responses` gives back of its request.
ECHOED = ("text", "reasoning")

EVERY = [endpoint for endpoint in endpoints() if endpoint.fields and endpoint.name not in REFUSED]
each = pytest.mark.parametrize("endpoint", EVERY, ids=lambda endpoint: endpoint.name)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Endpoint], Server]]:
    """The server that is asked about an endpoint: one whose model can do what the endpoint is for."""
    fim = str(fim_model(tmp_path_factory.mktemp("fim")))
    flags = {
        "infill": ("-m", fim, "-c", "512", "-np", "1"),
        "embed": ("-c", "512", "-np", "1", "--embeddings", "--pooling", "mean"),
        "rerank": ("-m", str(RANK), "--rerank"),
        "": ("-c", "1024", "-np", "2", "--slot-save-path", str(tmp_path_factory.mktemp("slots"))),
    }
    with ExitStack() as stack:
        started = {part: stack.enter_context(contextmanager(running)(*each)) for part, each in flags.items()}
        yield lambda endpoint: next(server for part, server in started.items() if part in endpoint.name)


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == document(), "`make docs` writes it anew"


def test_every_endpoint_is_tried() -> None:
    assert {endpoint.name for endpoint in EVERY} == set(REQUESTS)
    assert {endpoint.name for endpoint in endpoints()} > set(REFUSED)


def test_endpoints_that_refuse_everything_say_so(serving: Callable[[Endpoint], Server]) -> None:
    for endpoint in endpoints():
        if endpoint.name in REFUSED:
            assert _post(serving(endpoint), endpoint, {}).status == REFUSED[endpoint.name]


@each
def test_values_of_another_type_are_refused_by_name(serving: Callable[[Endpoint], Server], endpoint: Endpoint) -> None:
    server = serving(endpoint)
    wrong = []
    for field in endpoint.fields:
        value = _other_type(field.schema)
        if value is not None and field.status != "ignored":
            answer = _post(server, endpoint, _with(endpoint, field, value))
            if not _is_refusal(answer, field):
                wrong.append((field.name, value, answer.status, answer.body))
    assert wrong == []


@each
def test_refused_fields_are_refused_by_name(serving: Callable[[Endpoint], Server], endpoint: Endpoint) -> None:
    server = serving(endpoint)
    wrong = []
    for field in endpoint.fields:
        if field.status in ("refused", "limited"):
            listed = any("enum" in option or "const" in option for option in variants(field.schema))
            value = "no such value" if listed else _value(field.schema, full=True)
            answer = _post(server, endpoint, _with(endpoint, field, value))
            if not _is_refusal(answer, field):
                wrong.append((field.name, answer.status, answer.body))
    assert wrong == []


@each
def test_ignored_fields_change_nothing(serving: Callable[[Endpoint], Server], endpoint: Endpoint) -> None:
    server = serving(endpoint)
    outside = [Field(name, {}, "") for name in (*unknown(endpoint), "no_such_field")]
    for field in [*(field for field in endpoint.fields if field.status == "ignored"), *outside]:
        body = _with(endpoint, field, _value(field.schema, full=True))
        # The same request without the field, but with what the field is in.
        base = _post(server, endpoint, _without(body, field))
        answer = _post(server, endpoint, body)
        assert answer.status == base.status == 200, (field.name, base.body)
        assert _stable(answer.body) == _stable(base.body), field.name


def _post(server: Server, endpoint: Endpoint, body: dict[str, Any]) -> Answer:
    path = re.sub(r"\{\w+\}", "0", endpoint.paths[0])
    return server.post(path + ("?action=save" if "slots" in path else ""), body)


def _is_refusal(answer: Answer, field: Field) -> bool:
    """Whether it is an error that names the field."""
    text = re.sub(r"\[\d*\]", "", json.dumps(answer.body))
    return answer.status == 400 and field.name.replace("[]", "") in text


def _stable(body: Any) -> Any:
    if isinstance(body, list):
        return [_stable(item) for item in body]
    if not isinstance(body, dict):
        return body
    echoed = ECHOED if body.get("object") == "response" else ()
    return {key: _stable(value) for key, value in body.items() if not VOLATILE.search(key) and key not in echoed}


def _kind(value: object) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _other_type(schema: dict[str, Any]) -> Any:
    """A value of a type that the schema does not have; None where it has all, or does not say."""
    allowed: set[str] = set()
    for option in variants(schema):
        named = option.get("type", [])
        allowed |= {named} if isinstance(named, str) else set(named)
        allowed |= {_kind(value) for value in option.get("enum", [option["const"]] if "const" in option else [])}
    if not allowed:
        return None
    allowed |= {"integer"} if "number" in allowed else set()
    candidates = ({"x": {}}, [{"x": {}}], True, 1.5, "text")
    return next((value for value in candidates if _kind(value) not in allowed), None)


def _value(schema: dict[str, Any], full: bool = False) -> Any:
    """A value that fits the schema; with `full` lists are not empty."""
    option = next((option for option in variants(schema) if option.get("type") != "null"), {})
    if "enum" in option or "const" in option:
        return option.get("const", next(iter(option.get("enum", [])), None))
    named = option.get("type", "string")
    kind = named if isinstance(named, str) else named[0]
    if kind == "array":
        return [_value(option.get("items", {}))] if full else []
    if kind == "object":
        inner = option.get("properties", {})
        found = {name: _value(inner[name], full) for name in option.get("required", ()) if name in inner}
        values = option.get("additionalProperties")
        return found or ({"x": _value(values) if isinstance(values, dict) else "y"} if full else {})
    return {"string": "x", "integer": 7, "number": 0.5, "boolean": True}[kind]


def _with(endpoint: Endpoint, field: Field, value: Any) -> dict[str, Any]:
    """The endpoint's request with the field, and with what is around it."""
    body = copy.deepcopy(REQUESTS[endpoint.name])
    replaced = INSTEAD.get(endpoint.name, {}).get(re.split(r"\W", field.name)[0])
    if replaced is not None:
        del body[replaced]
    schemas = {other.name: other.schema for other in endpoint.fields}
    at: dict[str, Any] = body
    *above, leaf = field.name.split(".")
    for depth, part in enumerate(above):
        name = ".".join(above[: depth + 1])
        key, listed = part.removesuffix("[]"), part.endswith("[]")
        following = [*above, leaf][depth + 1].removesuffix("[]")
        options = list(variants(schemas[name.removesuffix("[]")]))
        if listed:
            items = (option["items"] for option in options if isinstance(option.get("items"), dict))
            options = [option for item in items for option in variants(item)]
        schema = next(option for option in options if following in option.get("properties", {}))
        made = {**_value(schema), **PARENTS.get(name, {})}
        meant = re.match(r"With `([\w-]+)…?`", field.description) if depth == len(above) - 1 else None
        types = [kind for option in variants(schema["properties"].get("type", {})) for kind in option.get("enum", ())]
        if meant and meant[1] in types:
            made["type"] = meant[1]
            at.update({"role": "assistant"} if meant[1] in ("thinking", "tool_use") else {})
        current = at.get(key)
        if listed:
            if not (isinstance(current, list) and current and isinstance(current[0], dict)):
                at[key] = [made]
            at = at[key][0]
        else:
            if not isinstance(current, dict):
                at[key] = made
            at = at[key]
    at[leaf] = value
    return body


def _without(body: dict[str, Any], field: Field) -> dict[str, Any]:
    body = copy.deepcopy(body)
    at: Any = body
    *above, leaf = field.name.split(".")
    for part in above:
        at = at[part.removesuffix("[]")]
        at = at[0] if part.endswith("[]") else at
    del at[leaf]
    return body
