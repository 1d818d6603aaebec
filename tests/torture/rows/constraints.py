"""Patterns, schemas and grammars that a naive engine would choke on."""

from __future__ import annotations

import itertools
from typing import Any

from tests.support.attack import Row, Send, Target
from tests.support.server import Answer
from tests.torture.rows.make import CHAT, COMPLETION, body, posted, with_fields

_STRING = {"type": "string"}
_numbers = itertools.count()


def _schema(text: str, schema: Any, says: str = "at ", kind: str = "schema") -> Row:
    return with_fields(kind, text, row={"says": says}, json_schema=schema)


def _bounded(kind: str, text: str, **given: Any) -> Row:
    """Legal, so that it may be served, if the work for it is bounded."""
    return Row(kind, text, posted(COMPLETION, body(COMPLETION, {"n_predict": 8, **given})), (200, 400))


def _grammar(text: str, grammar: str, says: str = "line ") -> Row:
    return with_fields("grammar", text, row={"says": says}, grammar=grammar)


_REGEX = [
    _bounded("regex", "(a+)+$", json_schema={**_STRING, "pattern": "(a+)+$"}),
    _bounded("regex", "(a|a)*b", json_schema={**_STRING, "pattern": "^(a|a)*b$"}),
    _bounded("regex", "(x+x+)+y", json_schema={**_STRING, "pattern": "^(x+x+)+y$"}),
    _schema("100,000-long alternation", {**_STRING, "pattern": "|".join(["ab"] * 100_000)}, "allowed", "regex"),
    _schema("look-behind", {**_STRING, "pattern": "(?<=x)y"}, kind="regex"),
    _schema("look-ahead", {**_STRING, "pattern": "(?!x)y"}, kind="regex"),
    _schema("a back-reference", {**_STRING, "pattern": "(a)\\1"}, kind="regex"),
    _schema("an open bracket", {**_STRING, "pattern": "("}, kind="regex"),
    _schema("an open class", {**_STRING, "pattern": "[a-"}, kind="regex"),
    _bounded("regex", "a{1000000000}", json_schema={**_STRING, "pattern": "a{1000000000}"}),
    _bounded("regex", "^a{1000000000}$", json_schema={**_STRING, "pattern": "^a{1000000000}$"}),
    _bounded("regex", "((a{1000}){1000}){1000}", json_schema={**_STRING, "pattern": "^((a{1000}){1000}){1000}$"}),
    with_fields("regex", "an open bracket, vLLM", "/v1/completions", guided_regex="("),
]


def _ref_chain(n: int) -> dict[str, Any]:
    return {"$defs": {f"d{i}": {"$ref": f"#/$defs/d{(i + 1) % n}"} for i in range(n)}, "$ref": "#/$defs/d0"}


_SCHEMAS = [
    _schema('{"type": 123}', {"type": 123}),
    _schema('{"type": "hiccup"}', {"type": "hiccup"}),
    _schema("true", True),
    _schema("123", 123),
    _schema("a $ref to itself", {"$ref": "#"}),
    _schema("a $ref to itself by a property",
            {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]}),
    _schema("a circle of 1,000 $refs", _ref_chain(1000)),
    _schema("a $ref that leads nowhere", {"$ref": "#/$defs/none"}),
    _schema("a remote $ref", {"$ref": "http://127.0.0.1:9/schema.json"}),
    _schema("a $ref to a file", {"$ref": "file:///etc/passwd"}),
    _schema("minItems: 1e9", {"type": "array", "minItems": 10**9}, "allowed"),
    _schema("maxItems: 1e9", {"type": "array", "maxItems": 10**9}, "allowed"),
    _schema("maxLength: 1e9", {**_STRING, "maxLength": 10**9}, "allowed"),
    _schema("minLength: 1e9", {**_STRING, "minLength": 10**9}, "allowed"),
    _schema("minimum above maximum", {"type": "integer", "minimum": 3, "maximum": 1}, "nothing satisfies"),
    _schema("minLength above maxLength", {**_STRING, "minLength": 3, "maxLength": 1}, "nothing satisfies"),
    _schema("a string that is an integer", {"allOf": [_STRING, {"type": "integer"}]}, "nothing satisfies"),
    _schema("a required property that nothing is", {"type": "object", "properties": {"a": False}, "required": ["a"]},
            "/properties/a"),
    _schema("an empty enum", {"enum": []}),
    _schema("300 kB", {"description": "x" * 300_000}, "allowed"),
    _schema("10,000 properties", {"properties": {f"p{i}": _STRING for i in range(10_000)}}, "allowed"),
    _bounded("schema", "5,000 enum values", json_schema={"enum": [f"v{i}" for i in range(5000)]}),
    _bounded("schema", "a tree that refers to itself, which is legal", json_schema={
        "type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}),
    _bounded("schema", "anyOf of anyOf", json_schema={"anyOf": [{"anyOf": [{"type": "integer"}] * 50}] * 50}),
    with_fields("schema", "a bad schema as a chat's response_format", CHAT,
                response_format={"type": "json_schema", "json_schema": {"schema": {"type": 123}}}),
    with_fields("schema", "a bad schema as a tool's parameters", CHAT, row={"param": "tools"}, tool_choice="required",
                tools=[{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}]),
]  # fmt: skip

_GRAMMARS = [
    _grammar("60,000 (", "root ::= " + "(" * 60_000),
    _grammar("60,000 ( and )", "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000),
    _grammar("left recursion", 'root ::= root "x" | "x"', "left-recursive"),
    _grammar("left recursion through an empty rule", 'root ::= a\na ::= b? a "x"\nb ::= "b"', "left-recursive"),
    _grammar("a circle of rules", "root ::= a\na ::= b\nb ::= a"),
    _grammar("missing root", 'a ::= "x"', 'no rule "root"'),
    _grammar("an undefined rule", "root ::= missing", "not defined"),
    _grammar("{3,2}", 'root ::= "a"{3,2}'),
    _grammar("{1,1000000000}", 'root ::= "a"{1,1000000000}', "allowed"),
    _grammar("an unterminated string", 'root ::= "a'),
    _grammar("an unterminated class", "root ::= [a-z"),
    _grammar("a class backwards", "root ::= [z-a]"),
    _grammar("an unknown escape", 'root ::= "\\q"'),
    _grammar("no grammar at all", "hello"),
    _grammar("2 MB of blanks", " " * (2 << 20), ""),
    _grammar("300,000 rules", 'root ::= "a"' + "\nx ::= " * 300_000, ""),
    _grammar("100,000 alternatives", "root ::= " + " | ".join(f'"a{i}"' for i in range(100_000)), "allowed"),
    _bounded("grammar", "exponentially ambiguous", n_predict=60,
             grammar='root ::= ("a" | "a" | a)*\na ::= "a"? "a"? "a"? "a"? "a"? "a"? "a"?'),
    _bounded("grammar", "cubic", n_predict=60, grammar='root ::= "a" root root | "a" | "aa"'),
    _bounded("grammar", "empty loops", n_predict=60, grammar='root ::= (("a"*)*)*'),
    _bounded("grammar", "repetitions of repetitions", grammar='root ::= ((("a"{10000}){10000}){10000}){10000}'),
]  # fmt: skip


def _new_schema(target: Target) -> Answer:
    name = f"name{next(_numbers)}"
    schema = {"type": "object", "properties": {name: _STRING, "n": {"enum": [name, 1]}}}
    return target.post(COMPLETION, body(COMPLETION, {"n_predict": 1, "json_schema": schema}))


def _new_grammar(target: Target) -> Answer:
    return target.post(COMPLETION, body(COMPLETION, {"n_predict": 1, "grammar": f'root ::= "a{next(_numbers)}"+'}))


_CACHED: list[tuple[str, Send]] = [("a new schema each request", _new_schema), ("a new grammar each", _new_grammar)]

ROWS = [*_REGEX, *_SCHEMAS, *_GRAMMARS, *(Row("grammar cache", text, send, (200,)) for text, send in _CACHED)]
