"""Argument values written as bare text, which a tool's schema tells how to read."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.patterns import FORMATS, whole
from rustllm.chat.tool import Tool, ToolError, resolve

Schema = Mapping[str, Any]

#: Whether a value is a text as it stands, JSON, or one of both that only its text can tell.
Kind = Literal["text", "json", "either"]

#: Brackets of a value in Python's syntax, whose parser is not made for hostile texts.
_MAX_BRACKETS = 1000

#: What some templates make of JSON's words.
_PYTHON = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True)
class Reading:
    """How the text of an argument becomes JSON."""

    kind: Kind
    #: The schema's alternatives that are not text; None takes any JSON.
    others: tuple[Schema, ...] | None = None

    def to_json(self, text: str) -> str:
        """The JSON of a value's text; what is no JSON that the schema takes is a text."""
        if self.kind != "text":
            bare = _PYTHON.get(text.strip(), text.strip())
            try:
                value = json.loads(bare, parse_constant=_refuse)
            except (ValueError, RecursionError):
                return (_from_python(bare) if self.kind == "json" else None) or escaped(text, quoted=True)
            if self.kind == "json" or self._takes(value):
                return bare
        return escaped(text, quoted=True)

    def _takes(self, value: object) -> bool:
        if isinstance(value, str):
            return False
        return self.others is None or any(_fits(value, branch) for branch in self.others)


TEXT, JSON, EITHER = Reading("text"), Reading("json"), Reading("either")


def reading_of(tool: Tool, name: str) -> Reading:
    """How an argument's text is read."""
    schema = tool.properties.get(name)
    if not isinstance(schema, Mapping):
        return EITHER
    found = branches(schema, tool.parameters)
    kinds = {_kind(branch) for branch in found}
    if len(kinds) == 1 and "either" not in kinds:
        return TEXT if kinds == {"text"} else JSON
    if any(_kind(branch) == "either" and _options(branch) is None for branch in found):
        return EITHER
    return Reading("either", tuple(branch for branch in found if _kind(branch) != "text"))


def branches(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, each of one type where the schema says so. One that is referred to more than
    once, by itself among others, is there once."""
    found: list[Schema] = []
    #: By identity. They are kept, since an identity may be given anew to what comes behind.
    seen: dict[int, Schema] = {}
    waiting = [schema]
    while waiting:
        branch = resolve(waiting.pop(), root)
        if id(branch) in seen:
            continue
        seen[id(branch)] = branch
        inner = _alternatives(branch)
        kinds = branch.get("type")
        if inner is not None:
            waiting += reversed(inner)
        elif isinstance(kinds, list) and _options(branch) is None:
            found += [{**branch, "type": kind} for kind in kinds]
        else:
            found.append(branch)
    return found


def _alternatives(schema: Schema) -> list[Schema] | None:
    """The schemas of which one must hold, where a schema says so."""
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options:
            # What is true takes anything, as an empty schema does.
            return [
                {} if option is True else option for option in options if option is True or isinstance(option, Mapping)
            ]
    return None


def argument_branches(tool: Tool, name: str) -> list[Schema]:
    """The alternatives of an argument. Raises ToolError where there are none: a `$ref` may reach only itself."""
    found = branches(tool.argument(name), tool.parameters)
    if not found:
        raise ToolError(tool.place, f"the schema at /properties/{name:.60} allows no value")
    return found


def _options(branch: Schema) -> list[Any] | None:
    """The values that a branch allows, where it lists them."""
    options = branch.get("enum", [branch["const"]] if "const" in branch else None)
    return options if isinstance(options, list) and options else None


def _kind(branch: Schema) -> Kind:
    options = _options(branch)
    if options is not None:
        texts = {isinstance(option, str) for option in options}
        return "either" if len(texts) > 1 else "text" if texts.pop() else "json"
    kind = branch.get("type")
    if isinstance(kind, str):
        return "text" if kind == "string" else "json"
    return "json" if "properties" in branch or "items" in branch else "either"


def _fits(value: object, branch: Schema) -> bool:
    """Whether a JSON value that is no text is of a branch's type."""
    options = _options(branch)
    if options is not None:
        return any(type(option) is type(value) and option == value for option in options)
    kind = branch.get("type")
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {"null": type(None), "boolean": bool, "integer": int, "array": list, "object": dict}
    return not isinstance(kind, str) or kind not in types or type(value) is types[kind]


def lark_value(lark: Lark, tool: Tool, name: str, end: str, wrap: tuple[str, str] | None = None) -> str:
    """The grammar of an argument's value and of `end`, which follows it. Texts may stand in `wrap`."""
    line, mark = end.startswith("\n"), end.strip()
    tail = end[end.index(mark) + len(mark) :]
    place = f"{tool.place}/properties/{name}"
    expressions: list[str] = []
    for branch in argument_branches(tool, name):
        options = _options(branch)
        if options is not None:
            texts = [option if isinstance(option, str) else json.dumps(option) for option in options]
            expressions.append(f"{lark.one_of([lark.text(text) for text in texts])} {lark.text(end)}")
        elif branch.get("type") == "boolean":
            expressions.append(f'("true" | "false" | "True" | "False") {lark.text(end)}')
        elif _kind(branch) == "json":
            schema = {**tool.definitions, **branch}
            expressions.append(f"{lark.schema(schema, place, tool.strict)} {lark.text(end)}")
        else:
            length = (_count(branch.get("minLength")) or 0, _count(branch.get("maxLength")))
            also = _also(lark, branch, tool, name)
            expressions.append(f"{lark.until(mark, length, line=line, also=also)} {lark.text(tail)}")
            if wrap is not None:
                # Without it a text could not have the mark in it.
                text = lark.until(wrap[1] + mark, length, also=also)
                expressions.append(f"{lark.text(wrap[0])} {text} {lark.text(tail)}")
    return lark.one_of(expressions)


def _also(lark: Lark, branch: Schema, tool: Tool, name: str) -> list[str]:
    """What a text must be besides its length. What the grammar cannot say is noted, or refused."""
    found = []
    for keyword in ("pattern", "format"):
        value = branch.get(keyword)
        if isinstance(value, str):
            expression = whole(value) if keyword == "pattern" else FORMATS.get(value)
            pointer = f"/properties/{name}/{keyword}"
            if expression is not None:
                found.append(expression)
            elif tool.strict:
                message = f"the keyword at {pointer} cannot be enforced, which strict asks for"
                raise ToolError(tool.place, message)
            else:
                lark.ignored.append(tool.place + pointer)
    return found


def _count(value: object) -> int | None:
    """A length that the grammar can count to."""
    return value if isinstance(value, int) and 0 <= value <= 10_000 else None


def _from_python(text: str) -> str | None:
    """The JSON of a list or dictionary as Python prints it, which is what some templates show of them."""
    nests = sum(text.count(bracket) for bracket in "[{(")
    if text[:1] not in ("[", "{") or nests > _MAX_BRACKETS:
        return None
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def escaped(text: str, *, quoted: bool = False) -> str:
    """A piece of a JSON string, or a whole one."""
    string = json.dumps(text, ensure_ascii=False)
    return string if quoted else string[1:-1]
