"""OpenAPI entries for bodies that are read by hand, so that the documents still describe them."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from rustllm.server.answers import Error

_STATUSES = {
    400: "The request is wrong; the message names the field, the value and what is allowed.",
    401: "The API key is missing or wrong.",
    404: "There is nothing of this name.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "The queue is full; try again after the seconds in Retry-After.",
    500: "The server failed at this request.",
    501: "The feature is switched off, or not there yet.",
    503: "The model is being loaded, the server is shutting down, or all bodies together are too large.",
}

Responses = dict[int | str, dict[str, Any]]


@cache
def schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, without references: a part of a document has no place for definitions."""
    whole = model.model_json_schema(by_alias=True)
    definitions = whole.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            rest = {key: item for key, item in value.items() if key != "$ref"}
            return {**inlined(definitions[value["$ref"].rsplit("/", 1)[1]]), **rest}
        return {key: inlined(item) for key, item in value.items()}

    plain: dict[str, Any] = inlined(whole)
    return plain


def errors(*statuses: int, error: type[BaseModel] = Error) -> Responses:
    """The errors of a route."""
    # One status names the model and with it defines its schema. FastAPI makes a validator for each that
    # does, which for all statuses of all routes would be megabytes; the others refer to the schema.
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{error.__name__}"}}}

    def described(status: int) -> dict[str, Any]:
        means = {"model": error} if status == 503 else {"content": content}
        return {"description": _STATUSES[status], **means}

    return {status: described(status) for status in statuses}


def reads(answer: Any, *statuses: int, error: type[BaseModel] = Error) -> Responses:
    """The responses of a route without a body."""
    return {200: {"model": answer}, **errors(401, 503, *statuses, error=error)}


def answers(
    answer: Any,
    event: type[BaseModel] | None = None,
    *statuses: int,
    error: type[BaseModel] = Error,
    media_type: str = "text/event-stream",
) -> Responses:
    """The responses of a route with a body; `event` is what its streams consist of."""
    found: dict[str, Any] = {"model": answer}
    if event is not None:
        found["description"] = "The answer, or a stream of events with `stream`."
        found["content"] = {media_type: {"schema": schema(event)}}
    return {200: found, **errors(400, 401, 408, 413, 415, 429, 500, 503, *statuses, error=error)}


def body(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The request body of a route that reads `model`."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema(model)}}}}


def parameters(**described: str) -> dict[str, Any]:
    """Entries for parameters that are read by hand; those in the path are `path_` and their name."""

    def entry(name: str, description: str) -> dict[str, Any]:
        place = "path" if name.startswith("path_") else "query"
        plain = name.removeprefix("path_")
        text = {"type": "string"}
        return {"name": plain, "in": place, "required": place == "path", "description": description, "schema": text}

    return {"parameters": [entry(name, description) for name, description in described.items()]}
