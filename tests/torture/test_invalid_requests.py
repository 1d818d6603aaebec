"""Valid requests of every endpoint, damaged at random: never an error of the server, always the API's own shape, and
only statuses that the documents name."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustllm.config import ServerSettings, parse
from rustllm.server.app import create_app
from tests.server.test_conformance import REQUESTS
from tests.support.attack import KEY, LONG, error_of, idle
from tests.support.embeddings import RANK
from tests.support.model_file import fim_model
from tests.support.server import Answer, Server, running
from tests.support.strategies import BUDGET, JSON
from tests.torture.conftest import Report

EXAMPLES = 1500 if LONG else 60

#: What bounds an answer, and what would make it a stream of another kind, stays as it is.
BOUNDS = (
    "max_tokens",
    "n_predict",
    "max_output_tokens",
    "num_predict",
    "n",
    "n_cmpl",
    "best_of",
    "max_completion_tokens",
)

#: Values that sit at the edges of what types hold.
EDGES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.1, -0.0, 1e-320, 1e308,
    "", "5", "null", "\0", "\ud83d\ude00", "a" * 5000, "{{ 1 }}", "../../x", "file:///etc/passwd", [], {}, [[]], [None],
    [{}], {"": {}}, {"type": None}, {"$ref": "#"}, [0] * 1000,
]  # fmt: skip

VALUES = JSON | st.sampled_from(EDGES).map(copy.deepcopy)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def names(schema: dict[str, Any]) -> list[str]:
    """The fields that a schema knows, at any depth."""
    found = set(schema.get("properties", {}))
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), schema.get("items", {})]
    for part in inner:
        if isinstance(part, dict) and part:
            found |= set(names(part))
    return sorted(found - set(BOUNDS))


@st.composite
def damaged(draw: st.DrawFn, body: dict[str, Any], fields: list[str]) -> Any:
    """The body with up to three things changed."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        choices = [place for place in places(body) if place[-1] not in BOUNDS]
        kind = draw(st.sampled_from(["replace", "drop", "add", "wrap"]))
        if kind == "add" or not choices:
            body[draw(st.sampled_from(fields) if fields else st.just("x"))] = draw(VALUES)
            continue
        *path, key = draw(st.sampled_from(choices))
        parent: Any = body
        for step in path:
            parent = parent[step]
        if kind == "replace":
            parent[key] = draw(VALUES)
        elif kind == "drop":
            del parent[key]
        else:
            parent[key] = draw(st.sampled_from([[parent[key]], {"a": parent[key]}, [parent[key], 1]]))
    return body


DOCUMENT = create_app(ServerSettings.from_arguments(parse(["--metrics", "--props"], {}))).openapi()


def operation(name: str) -> dict[str, Any]:
    """What the documents say of an endpoint."""
    method, path = name.split()
    found: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = fim_model(tmp_path_factory.mktemp("fim"))
    slots = tmp_path_factory.mktemp("slots")
    flags = ("--embeddings", "--pooling", "mean", "--slot-save-path", str(slots), "--metrics", "--api-key", KEY)
    for one in running("-m", str(model), "-c", "1024", "-np", "2", *flags, "-lv", "1"):
        one.client.headers["Authorization"] = f"Bearer {KEY}"
        yield one
        assert idle(one)


@pytest.fixture(scope="module")
def ranking() -> Iterator[Server]:
    yield from running("-m", str(RANK), "--rerank", "-lv", "1")


def check(name: str, content: bytes, server: Server) -> int:
    """The status of a request, after looking at its answer."""
    path = name.split()[1].replace("{id_slot}", "0")
    response = server.client.post(path, content=content, params={"action": "save"} if "slots" in path else None)
    status = response.status_code
    assert str(status) in operation(name)["responses"], f"{status} is in no document: {response.text[:500]}"
    assert status < 500 or status in (501, 503), response.text
    if status >= 400:
        assert response.headers["content-type"] == "application/json"
        message, _ = error_of(Answer(status, response.json(), response.headers))
        assert message
        assert "Traceback" not in message
    return status


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", REQUESTS)
def test_damaged_requests(server: Server, ranking: Server, name: str, report: Report) -> None:
    chosen = ranking if "rerank" in name else server
    schema = operation(name)["requestBody"]["content"]["application/json"]["schema"]
    fields = names(schema)
    whole = json.dumps(REQUESTS[name]).encode()
    served = check(name, whole, chosen)
    tries = 0

    @settings(BUDGET, max_examples=EXAMPLES, derandomize=not LONG)
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        nonlocal tries
        body = data.draw(damaged(REQUESTS[name], fields))
        content = json.dumps(body).encode()
        if data.draw(st.integers(0, 9)) == 0:
            at = data.draw(st.integers(0, len(content)))
            content = content[:at] + data.draw(st.binary(max_size=3)) + content[at + 1 :]
        check(name, content, chosen)
        tries += 1

    damage()
    assert check(name, whole, chosen) == served
    report.add("damaged requests", tries)
