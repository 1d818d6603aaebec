"""The alternatives of an argument, and grammars of tools whose schemas multiply."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rustllm.chat.syntax import lark as lark_module
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.python_body import PythonBody
from rustllm.chat.syntax.values import EITHER, JSON, TEXT, branches, lark_value, reading_of
from rustllm.chat.tool import Tool, ToolError


def tool(properties: dict[str, Any], **others: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, **others}
    # As in requests, no two places have the same object.
    return Tool("f", "", json.loads(json.dumps(parameters)))


def found(schema: Any, **defs: Any) -> list[Any]:
    one = tool({"a": schema}, **{"$defs": defs})
    return [
        {name: value for name, value in branch.items() if name != "$defs"}
        for branch in branches(one.argument("a"), one.parameters)
    ]


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


TEXT_, NUMBER, NULL = {"type": "string"}, {"type": "number"}, {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (TEXT_, [TEXT_]),
        ({"type": ["string", "null"]}, [TEXT_, NULL]),
        ({"anyOf": [NUMBER, {"oneOf": [NULL, TEXT_]}, NUMBER]}, [NUMBER, NULL, TEXT_, NUMBER]),
        ({"anyOf": [ref("n"), ref("t"), ref("n"), {"anyOf": [ref("t")]}]}, [NUMBER, TEXT_]),
        ({"anyOf": [TEXT_, True, False, 5]}, [TEXT_, {}]),
        (ref("tree"), [NUMBER]),
        (ref("self"), []),
        ({"anyOf": [False]}, []),
    ],
)
def test_alternatives(schema: Any, expected: list[Any]) -> None:
    tree = {"anyOf": [ref("tree"), ref("n"), {"oneOf": [ref("tree"), ref("self")]}]}
    assert found(schema, n=NUMBER, t=TEXT_, tree=tree, self={"anyOf": [ref("self")] * 3}) == expected


@pytest.mark.parametrize("options", [20, 2000])
def test_circles_are_gone_through_once(options: int) -> None:
    defs = {f"x{i}": {"anyOf": [*[ref(f"x{(i + 1) % 9}")] * options, NULL]} for i in range(9)}
    one = tool({"a": ref("x0")}, **{"$defs": defs})
    started = time.monotonic()
    assert branches(one.argument("a"), one.parameters) == [NULL] * 9
    assert reading_of(one, "a") == JSON
    assert time.monotonic() - started < 2


def test_an_argument_that_can_have_no_value_is_refused() -> None:
    one = tool({"a": ref("x")}, **{"$defs": {"x": {"anyOf": [ref("x")] * 20}}})
    assert reading_of(one, "a") not in (TEXT, JSON, EITHER)
    for grammar in (lambda: lark_value(Lark(list), one, "a", "</a>"), lambda: PythonBody().lark(Lark(list), one)):
        with pytest.raises(ToolError, match="the schema at /properties/a allows no value"):
            grammar()


def test_many_required_arguments_take_no_time() -> None:
    names = [f"p{i}" for i in range(8000)]
    one = tool({name: {} for name in names}, required=names)
    started = time.monotonic()
    text = PythonBody().lark(Lark(lambda text: [text]), one)
    assert text
    # Looking for each name in a list of all of them took four seconds.
    assert time.monotonic() - started < 2


def test_definitions_that_each_argument_has_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lark_module, "MAX_SCHEMA_BYTES", 100_000)

    def made(n: int) -> Lark:
        lark = Lark(lambda text: [text])
        defs = {"x": {"type": "array", "description": "y" * 1000}}
        PythonBody().lark(lark, tool({f"p{i}": ref("x") for i in range(n)}, **{"$defs": defs}))
        return lark

    assert len(made(40).schemas) == 40
    with pytest.raises(ToolError, match="allowed: up to 100000"):
        made(60)
