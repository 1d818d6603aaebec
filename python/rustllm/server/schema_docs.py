"""OpenAPI entries for bodies that are read by hand, so that the documents still describe them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "integer"},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}

#: The error answers that every route with a body may give.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    for status, text in {
        400: "The request is wrong; the message names the field, the value and what is allowed.",
        401: "The API key is missing or wrong.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        429: "The queue is full; try again after the seconds in Retry-After.",
        500: "The server failed at this request.",
        503: "The model is being loaded or the server is shutting down.",
    }.items()
}


def body(schema: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that reads `schema`."""
    content = {"application/json": {"schema": schema.model_json_schema(ref_template="#/components/schemas/{model}")}}
    definitions = content["application/json"]["schema"].pop("$defs", None)
    if definitions:
        content["application/json"]["schema"]["$defs"] = definitions
    return {"requestBody": {"required": True, "content": content}}
