"""Reading a JSON body from hostile bytes into a schema."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, RootModel

from rustllm.server.errors import ApiError
from rustllm.server.state import ServerState

#: Nesting of a body. Real requests, JSON schemas among them, stay below half of it.
MAX_DEPTH = 128

#: Brackets that open and commas of a body, those in its texts among them. The parser holds the interpreter's
#: lock, and ten million empty arrays would stall every stream for seconds; so many values take it a quarter
#: of one. Texts with more of them are longer than any context.
MAX_BRACKETS = 600_000
MAX_COMMAS = 4_000_000

Schema = TypeVar("Schema", bound=BaseModel)


async def read_body(request: Request, state: ServerState, schema: type[Schema]) -> Schema:
    """Reads, parses and checks the body: an object, or the array of a `RootModel`. Raises ApiError 400, 408,
    413 or 415, or ValidationError."""
    return await parse_body(request, state, await read_data(request, state), schema)


async def read_data(request: Request, state: ServerState) -> bytes:
    """The bytes of the body. Raises ApiError 408 or 413."""
    try:
        reading = _read_bytes(request, state.settings.max_body_bytes)
        return await asyncio.wait_for(reading, state.settings.timeout)
    except asyncio.TimeoutError:
        raise ApiError(408, f"the body did not arrive within {state.settings.timeout} seconds (--timeout)") from None


async def parse_body(request: Request, state: ServerState, data: bytes, schema: type[Schema]) -> Schema:
    """Parses and checks the bytes of a body. Raises ApiError 400 or 415, or ValidationError."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = kind.startswith("multipart/") or kind == "application/x-www-form-urlencoded"

    def parse() -> Schema:
        try:
            return schema.model_validate(parse_json(data, list if issubclass(schema, RootModel) else dict))
        except ApiError:
            # curl calls every body a form unless it is told otherwise, so JSON is taken under any name.
            if form:
                raise ApiError(415, f"the content type {kind!r} is not supported; send application/json") from None
            raise

    return await state.off_loop(len(data), parse)


async def _read_bytes(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    parts = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit} bytes (--max-body-bytes)")


def parse_json(data: bytes, kind: type) -> Any:
    """A JSON object or array of bounded depth; `kind` says which."""
    wanted = "a JSON object" if kind is dict else "a JSON array"
    if not data:
        raise ApiError(400, f"the body is empty; send {wanted}")
    _check_size(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(value, kind):
        raise ApiError(400, f"the body is {_kind(value)}; send {wanted}")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ApiError(400, f"the body is nested more than {MAX_DEPTH} levels deep")


def _check_size(data: bytes) -> None:
    """Refuses what holds more values than can be parsed in no time."""
    for what, n, limit in (
        ("brackets", data.count(b"[") + data.count(b"{"), MAX_BRACKETS),
        ("commas", data.count(b","), MAX_COMMAS),
    ):
        if n > limit:
            raise ApiError(400, f"the body has {n} {what}; allowed: up to {limit}")


def _children(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, (dict, list))]


def _kind(value: object) -> str:
    return {"list": "an array", "dict": "an object", "str": "a string", "NoneType": "null"}.get(
        type(value).__name__, "a plain value"
    )
