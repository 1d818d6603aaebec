"""vLLM's fields beside OpenAI's: what an answer must be, the grammars for that, and what is told of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, Field

from rustllm.server.errors import ApiError
from rustllm.server.parts import Part

#: Bytes of a regular expression, and of all choices.
MAX_TEXT = 64 << 10


class Constraint(NamedTuple):
    """What an answer must be."""

    #: `gbnf`, `json_schema`, `json_object` or `regex`.
    kind: str
    source: str
    #: The request's field, for errors.
    param: str
    #: Refuse keywords that cannot be enforced.
    strict: bool = False


class StructuredOutputs(Part):
    """What the answer must be; one of them."""

    json_: Any = Field(None, alias="json", description="A JSON schema, as an object or as text.")
    regex: str | None = Field(None, description="A regular expression for the whole answer.")
    choice: list[str] | None = Field(None, description="The answers to choose from.")
    grammar: str | None = Field(None, description="A GBNF grammar.")
    json_object: bool | None = Field(None, description="Any JSON object.")


class ConstraintFields(BaseModel):
    """vLLM's fields beside `grammar`, `json_schema` and `response_format`."""

    structured_outputs: StructuredOutputs | None = Field(None, description="What the answer must be, as in vLLM.")
    guided_json: Any = Field(None, description="The same as `structured_outputs.json`.")
    guided_regex: str | None = Field(None, description="The same as `structured_outputs.regex`.")
    guided_choice: list[str] | None = Field(None, description="The same as `structured_outputs.choice`.")
    guided_grammar: str | None = Field(None, description="The same as `structured_outputs.grammar`.")
    prompt_logprobs: int | None = Field(
        None,
        description="Report the log probabilities of the prompt's tokens with so many of the most probable ones at "
        "each place, as in vLLM; not in streams. The prompt is computed without the cache.",
    )


def asked(fields: object) -> Iterator[Constraint]:
    """What these fields ask for. Raises ApiError."""
    if not isinstance(fields, ConstraintFields):
        return
    outputs = fields.structured_outputs
    yield from _asked("guided_{}", fields.guided_json, fields.guided_regex, fields.guided_choice, fields.guided_grammar)
    if outputs is not None:
        yield from _asked("structured_outputs.{}", outputs.json_, outputs.regex, outputs.choice, outputs.grammar)
        if outputs.json_object:
            yield Constraint("json_object", "", "structured_outputs.json_object")


def check_prompt_logprobs(fields: ConstraintFields, *, stream: bool | None) -> None:
    """Streams have no place for a prompt's log probabilities. Raises ApiError."""
    if fields.prompt_logprobs is not None and stream:
        message = f"prompt_logprobs: {fields.prompt_logprobs} is not available in a stream; allowed: null"
        raise ApiError(400, message, param="prompt_logprobs")


def _asked(
    param: str, schema: Any, regex: str | None, choice: list[str] | None, grammar: str | None
) -> Iterator[Constraint]:
    if schema is not None:
        name = param.format("json")
        yield Constraint("json_schema", schema if isinstance(schema, str) else orjson.dumps(schema).decode(), name)
    if regex is not None:
        name = param.format("regex")
        _check_size(len(regex.encode("utf-8", "replace")), name)
        yield Constraint("regex", regex, name)
    if choice is not None:
        name = param.format("choice")
        _check_size(sum(len(text.encode("utf-8", "replace")) + 8 for text in choice), name)
        if not choice or "" in choice:
            raise ApiError(
                400, f"{name}: {choice!r:.60} has nothing to choose; expected texts of some length", param=name
            )
        yield Constraint("gbnf", "root ::= " + " | ".join(map(_literal, choice)), name)
    if grammar is not None:
        yield Constraint("gbnf", grammar, param.format("grammar"))


def _check_size(size: int, param: str) -> None:
    if size > MAX_TEXT:
        raise ApiError(400, f"{param}: it has {size} bytes; allowed: up to {MAX_TEXT}", param=param)


def _literal(text: str) -> str:
    """A text as GBNF writes it."""
    plain = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(plain.get(char) or (char if char.isprintable() else _code(char)) for char in text) + '"'


def _code(char: str) -> str:
    return f"\\U{ord(char):08x}"


def regex_grammar(regex: str) -> str:
    """A regular expression as a grammar of the engine's own language."""
    # A slash ends it there, and a line break the whole line.
    out, escaped = [], False
    for char in regex:
        plain = {"/": "\\/", "\n": "\\n", "\r": "\\r"}.get(char, char)
        # What follows a backslash has one already.
        out.append(plain[1:] if escaped and len(plain) > 1 else plain)
        escaped = char == "\\" and not escaped
    return f"start: /{''.join(out)}/"
