"""What requests are made of.

Objects inside a request may go on as the client sent them, with their key order and further keys.

A template prints tools as JSON, so a model of them must not rebuild them. `AsGiven` checks the types
and keeps the value; `Described` only describes it, where code beside it checks more than types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

#: What may have any number of entries.
_MANY = ("list", "dict", "set", "frozenset", "tuple")


def _fail_fast(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in _MANY:
            schema["fail_fast"] = True
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            _fail_fast(one)


class FromClient(BaseModel):
    """What a client sends. A list is checked up to its first wrong entry: pydantic would make an error of each, and a
    short request may have millions."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _fail_fast(schema)
        return schema


class Part(FromClient):
    """An object in a request; further keys are allowed."""

    model_config = ConfigDict(strict=True, extra="ignore")


@dataclass(frozen=True)
class AsGiven:
    """Checks a dict against a model and keeps it: `Annotated[dict[str, Any], AsGiven(Tool)]`."""

    model: type[Part]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            inner(value)
            return value

        return core_schema.no_info_wrap_validator_function(check, handler.generate_schema(self.model))


@dataclass(frozen=True)
class Described:
    """Describes a value, or a list of `many`, by a model and leaves the checks to the annotated type."""

    model: type[Part]
    many: bool = False

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = self.model.__pydantic_core_schema__
        return handler(core_schema.list_schema(described) if self.many else described)
