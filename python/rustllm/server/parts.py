"""Objects inside a request that go on as the client sent them, with their key order and further keys.

A template prints tools as JSON, so a model of them must not rebuild them. `AsGiven` checks the types
and keeps the value; `Described` only describes it, where code beside it checks more than types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Part(BaseModel):
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
