"""What an answer must be: a schema, a grammar, a regular expression or one of several texts.

A `Constraint` says it; `compile_constraint` makes of it, and of a chat's plan, what the engine follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from rustllm._rustllm import Engine, Grammar, InvalidRequestError, Watch
from rustllm.chat.plan import Plan, Schema
from rustllm.chat.syntax.calls import Marker
from rustllm.invalid import invalid, shown

#: Bytes of a regular expression, and of all choices.
MAX_TEXT = 64 << 10

#: Kinds of grammars for all of an answer, thoughts and calls included.
_WITHOUT_THOUGHT = ("gbnf", "regex")


class Constraint(NamedTuple):
    """What an answer must be."""

    #: `gbnf`, `json_schema`, `json_object` or `regex`.
    kind: str
    source: str
    #: The request's field, for errors.
    param: str
    #: Refuse keywords that cannot be enforced.
    strict: bool = False


class Compiled(NamedTuple):
    """What holds an answer to its form."""

    grammar: Grammar | None
    watch: Watch | None
    #: Behind which texts the grammar starts, where it does not hold from the start.
    triggers: Sequence[Marker] = ()


def json_schema(schema: object, param: str, *, strict: bool = False) -> Constraint:
    """A JSON schema, as an object or as its text."""
    source = schema if isinstance(schema, str) else _text(schema, param)
    return Constraint("json_schema", source, param, strict)


def regex(pattern: str, param: str) -> Constraint:
    """A regular expression for all of the answer."""
    _check_size(len(pattern.encode("utf-8", "replace")), param)
    return Constraint("regex", pattern, param)


def choice(texts: Sequence[str], param: str) -> Constraint:
    """The answers to choose from."""
    _check_size(sum(len(text.encode("utf-8", "replace")) + 8 for text in texts), param)
    if not texts or "" in texts:
        raise invalid(param, f"{shown(texts)} has nothing to choose; expected texts of some length")
    return Constraint("gbnf", "root ::= " + " | ".join(map(_literal, texts)), param)


def from_response_format(form: Mapping[str, Any]) -> Constraint | None:
    """OpenAI's `response_format`; None is any text."""
    kind = form.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        if form.get("schema") is not None:
            return _schema(form["schema"], "response_format.schema")
        return Constraint("json_object", "", "response_format")
    if kind == "json_schema":
        outer = form.get("json_schema")
        if not isinstance(outer, Mapping):
            raise invalid("response_format.json_schema", "an object is needed")
        param = "response_format.json_schema.schema"
        if outer.get("schema") is None:
            raise invalid(param, "it is missing")
        return _schema(outer["schema"], param, strict=outer.get("strict") is True)
    allowed = "'text', 'json_object', 'json_schema'"
    raise invalid("response_format.type", f"{shown(kind)} is unknown; allowed: {allowed}")


def _schema(schema: object, param: str, *, strict: bool = False) -> Constraint:
    # A text in the place of a schema is no schema; the engine says so.
    return Constraint("json_schema", _text(schema, param), param, strict)


def _text(schema: object, param: str) -> str:
    """The JSON of a schema, which in a program may hold anything at any depth."""
    try:
        return orjson.dumps(schema).decode()
    except (TypeError, RecursionError) as error:
        raise invalid(param, f"it is no JSON: {error}") from None


def the_one(found: Sequence[Constraint]) -> Constraint | None:
    """The only one of the constraints that were asked for, if any was."""
    if len(found) > 1:
        names = " and ".join(one.param for one in found)
        error = invalid(found[1].param, "")
        error.args = (f"{names}: only one of them may be given",)
        raise error
    return found[0] if found else None


def compile_constraint(
    engine: Engine, chosen: Constraint | None, plan: Plan | None, *, strict: bool = False, default: bool = False
) -> Compiled:
    """What holds an answer to `chosen`, read by `plan`. It takes milliseconds and more.

    `default`: it comes from settings, and gives way to the grammar of tools.
    """
    if plan is not None and plan.tools.active:
        return _compile_calls(engine, None if default else chosen, plan, strict)
    if chosen is None:
        return Compiled(None, None if plan is None else plan.watch(constrained=False, gbnf=False))
    if plan is not None and plan.frames and chosen.kind not in _WITHOUT_THOUGHT:
        return _compile_calls(engine, chosen, plan, strict)
    if chosen.kind == "regex":
        grammar = _compile_regex(engine, chosen)
    else:
        is_strict = chosen.strict or strict
        grammar = engine.compile_grammar(chosen.kind, chosen.source, param=chosen.param, strict=is_strict)
    watch = None if plan is None else plan.watch(constrained=True, gbnf=chosen.kind in _WITHOUT_THOUGHT)
    return Compiled(grammar, watch)


def _compile_calls(engine: Engine, chosen: Constraint | None, plan: Plan, strict: bool) -> Compiled:
    """The grammar of an answer that is more than a schema's: calls, or a thought before it."""
    schema = None
    if chosen is not None:
        if chosen.kind in _WITHOUT_THOUGHT:
            raise invalid(chosen.param, "it cannot be combined with tools, which have a grammar of their own")
        value = _value(chosen) if chosen.kind == "json_schema" else {"type": "object"}
        schema = Schema(value, chosen.param, chosen.strict or strict)
    constrained = schema is not None or plan.tools.choice == "required"
    lark = plan.grammar(engine.tokenizer, schema)
    grammar = None
    if lark is not None:
        grammar = engine.compile_syntax(lark.source, lark.schemas, param="tools", ignored=lark.ignored)
    watch = plan.watch(constrained=constrained, gbnf=False)
    return Compiled(grammar, watch, plan.triggers(constrained=constrained))


def _value(chosen: Constraint) -> Any:
    """A schema that may have been given as text."""
    try:
        return orjson.loads(chosen.source)
    except orjson.JSONDecodeError as error:
        raise invalid(chosen.param, f"it is no JSON: {error}") from None


def _compile_regex(engine: Engine, chosen: Constraint) -> Grammar:
    try:
        return engine.compile_syntax(regex_grammar(chosen.source), [], param=chosen.param)
    except InvalidRequestError:
        message = (
            f"{shown(chosen.source)} is no regular expression that can be followed; allowed: those of Rust's regex"
        )
        raise invalid(chosen.param, f"{message}, which look neither ahead nor back") from None


def _check_size(size: int, param: str) -> None:
    if size > MAX_TEXT:
        raise invalid(param, f"it has {size} bytes; allowed: up to {MAX_TEXT}")


def _literal(text: str) -> str:
    """A text as GBNF writes it."""
    plain = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(plain.get(char) or (char if char.isprintable() else _code(char)) for char in text) + '"'


def _code(char: str) -> str:
    return f"\\U{ord(char):08x}"


def regex_grammar(pattern: str) -> str:
    """A regular expression as a grammar of the engine's own language."""
    # A slash ends it there, and a line break the whole line.
    out, escaped = [], False
    for char in pattern:
        plain = {"/": "\\/", "\n": "\\n", "\r": "\\r"}.get(char, char)
        # What follows a backslash has one already.
        out.append(plain[1:] if escaped and len(plain) > 1 else plain)
        escaped = char == "\\" and not escaped
    return f"start: /{''.join(out)}/"
