"""Reading a JSON body from hostile bytes into a schema."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import RootModel
from starlette.requests import ClientDisconnect

from rustllm.limits import Caps, Limits
from rustllm.measures import depth
from rustllm.server.errors import ApiError
from rustllm.server.held_bodies import SLOW_BYTES, Hold, hold_of
from rustllm.server.parts import FromClient
from rustllm.server.state import ServerState

#: Digits of a length that a body may have.
MAX_DIGITS = 18

Schema = TypeVar("Schema", bound=FromClient)


async def read_body(request: Request, state: ServerState, schema: type[Schema]) -> Schema:
    """Reads, parses and checks the body: an object, or the array of a `RootModel`. Raises ApiError 400, 408,
    413, 415 or 503, or ValidationError."""
    return await parse_body(request, state, await read_data(request, state), schema)


async def read_data(request: Request, state: ServerState) -> bytearray:
    """The bytes of the body. Raises ApiError 408, 413, or 503 where all bodies together are too large."""
    limits, hold = state.settings.limits, hold_of(request.scope)
    reader = asyncio.ensure_future(_read_bytes(request, limits, hold))
    try:
        with nullcontext() if hold is None else hold.read_by(reader):
            return await asyncio.wait_for(reader, limits["body_seconds"])
    except asyncio.TimeoutError:
        most = limits.allowed("body_seconds", "seconds")
        raise ApiError(408, f"the body did not arrive in time; allowed: {most}") from None
    except asyncio.CancelledError:
        if hold is None or not hold.is_dropped:
            raise
        message = f"the body was slower than {SLOW_BYTES} bytes a second while others had no room"
        raise ApiError(408, f"{message}; allowed: {limits.allowed('all_bodies_bytes', 'bytes for all')}") from None


async def parse_body(request: Request, state: ServerState, data: bytes | bytearray, schema: type[Schema]) -> Schema:
    """Parses and checks the bytes of a body. Raises ApiError 400 or 415, ValidationError or InvalidRequestError."""
    limits = state.settings.limits
    caps: Caps = getattr(schema, "caps", {})
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = kind.startswith("multipart/") or kind == "application/x-www-form-urlencoded"

    def parse() -> Schema:
        try:
            value = parse_json(data, list if issubclass(schema, RootModel) else dict, limits)
            # What is too much is counted before its types are looked at, which can take seconds.
            if caps:
                limits.check(value, caps)
            return schema.model_validate(value)
        except ApiError:
            # curl calls every body a form unless it is told otherwise, so JSON is taken under any name.
            if form:
                raise ApiError(415, f"the content type {kind!r} is not supported; send application/json") from None
            raise

    return await state.off_loop(len(data), parse)


async def _read_bytes(request: Request, limits: Limits, hold: Hold | None) -> bytearray:
    # What is more than all bodies may be together is refused for good: it would never find room.
    name = min("body_bytes", "all_bodies_bytes", key=limits.__getitem__)
    announced = request.headers.get("content-length", "")
    # Python reads no number of thousands of digits.
    if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > limits[name]):
        raise _too_large(limits, name)
    # One block, which the system gets back when it is freed; many parts of many bodies would leave gaps in the heap.
    data = bytearray()
    try:
        async for part in request.stream():
            if len(data) + len(part) > limits[name]:
                raise _too_large(limits, name)
            if hold is not None:
                hold.take(len(part))
            data += part
    except ClientDisconnect:
        # As an error that nobody expects it would keep the body until the garbage collector looks.
        raise ApiError(499, "the client closed the connection") from None
    return data


def _too_large(limits: Limits, name: str) -> ApiError:
    return ApiError(413, f"the body is too large; allowed: up to {limits.allowed(name, 'bytes')}")


def parse_json(data: bytes | bytearray, kind: type, limits: Limits) -> Any:
    """A JSON object or array of bounded depth; `kind` says which."""
    wanted = "a JSON object" if kind is dict else "a JSON array"
    if not data:
        raise ApiError(400, f"the body is empty; send {wanted}")
    brackets = _check_size(data, limits)
    too_deep = ApiError(400, f"the body is nested too deep; allowed: {limits.allowed('json_depth', 'levels')}")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "limit" in error.msg:  # the parser's own, which is above what may be allowed
            raise too_deep from None
        raise ApiError(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(value, kind):
        raise ApiError(400, f"the body is {_kind(value)}; send {wanted}")
    # Few brackets cannot be deep, however many values are between them.
    if brackets > limits["json_depth"] and depth(value, limits["json_depth"]) > limits["json_depth"]:
        raise too_deep
    return value


def _check_size(data: bytes | bytearray, limits: Limits) -> int:
    """Refuses what holds more values than can be parsed in no time: the parser holds the interpreter's lock. Gives the
    number of brackets."""
    counts = {"json_brackets": data.count(b"[") + data.count(b"{"), "json_commas": data.count(b",")}
    for name, n in counts.items():
        if n > limits[name]:
            unit = name.removeprefix("json_")
            raise ApiError(400, f"the body has {n} {unit}; allowed: up to {limits.allowed(name)}")
    return counts["json_brackets"]


def _kind(value: object) -> str:
    return {"list": "an array", "dict": "an object", "str": "a string", "NoneType": "null"}.get(
        type(value).__name__, "a plain value"
    )
