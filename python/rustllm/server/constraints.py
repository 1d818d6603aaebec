"""vLLM's fields beside OpenAI's: what an answer must be, and what is told of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from rustllm.chat import constraint
from rustllm.chat.constraint import Constraint
from rustllm.limits import GRAMMAR, LIST, SCHEMA, Caps
from rustllm.server.errors import ApiError
from rustllm.server.parts import FromClient, Part


class StructuredOutputs(Part):
    """What the answer must be; one of them."""

    json_: Any = Field(None, alias="json", description="A JSON schema, as an object or as text.")
    regex: str | None = Field(None, description="A regular expression for the whole answer.")
    choice: list[str] | None = Field(None, description="The answers to choose from.")
    grammar: str | None = Field(None, description="A GBNF grammar.")
    json_object: bool | None = Field(None, description="Any JSON object.")


#: How they are bounded.
CAPS: Caps = {
    "structured_outputs.json": SCHEMA,
    "structured_outputs.choice": LIST,
    "structured_outputs.grammar": GRAMMAR,
    "guided_json": SCHEMA,
    "guided_choice": LIST,
    "guided_grammar": GRAMMAR,
    "prompt_logprobs": ("logprobs",),
}


class ConstraintFields(FromClient):
    """vLLM's fields beside `grammar`, `json_schema` and `response_format`."""

    caps: ClassVar[Caps] = CAPS

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
    """What these fields ask for. Raises InvalidRequestError."""
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
        yield constraint.json_schema(schema, param.format("json"))
    if regex is not None:
        yield constraint.regex(regex, param.format("regex"))
    if choice is not None:
        yield constraint.choice(choice, param.format("choice"))
    if grammar is not None:
        yield Constraint("gbnf", grammar, param.format("grammar"))
