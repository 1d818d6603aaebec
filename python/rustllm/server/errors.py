"""Errors as HTTP answers, in OpenAI's shape unless a dialect has its own:
`{"error": {"message", "type", "code", "param"}}`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from rustllm._rustllm import (
    ContextExceededError,
    EngineClosedError,
    InvalidRequestError,
    QueueFullError,
    UnsupportedError,
)
from rustllm.chat.messages import MessageError
from rustllm.chat.template import TemplateError
from rustllm.chat.tool import ToolError
from rustllm.engine import BusyError, GenerationError, TooLongError
from rustllm.invalid import shown

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}

#: What the engine calls the constraints of an answer.
CONSTRAINTS = ("grammar", "json_schema")

#: Seconds after which a client that found the queue full may try again, at least.
RETRY_AFTER = 1


class ApiError(Exception):
    """An answer other than 200. `extra` is added to the error object."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, kind: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.kind = kind or TYPES.get(status, "server_error")
        self.extra = extra
        #: With status 429: in how many seconds it may be tried again.
        self.retry_after = RETRY_AFTER
        #: Headers of the answer beside those that its status brings.
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """The error object with its envelope."""
        error = {
            "message": str(self),
            "type": self.kind,
            "code": self.status,
            "param": self.param,
            **self.extra,
        }
        return {"error": error}

    def response(self, body: dict[str, Any] | None = None) -> Response:
        """The whole answer; `body` is the error in another API's shape."""
        headers = dict(self.headers)
        if self.status == 429:
            headers["Retry-After"] = str(self.retry_after)
        if self.status in (408, 413):
            # The rest of the body is not waited for.
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(dumps(self.body() if body is None else body), self.status, headers, "application/json")


def dumps(value: object) -> bytes:
    """JSON bytes; characters that UTF-8 cannot hold are replaced."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_replace_surrogates(value))


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_replace_surrogates(k): _replace_surrogates(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_surrogates(item) for item in value]
    return value


def from_exception(error: Exception) -> ApiError:
    """What an exception means to the client."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextExceededError):
        return ApiError(
            400,
            str(error),
            param=error.param,
            kind="exceed_context_size_error",
            n_prompt_tokens=error.n_prompt,
            n_ctx=error.n_ctx,
        )
    if isinstance(error, (InvalidRequestError, MessageError, TemplateError, ToolError)):
        return ApiError(400, str(error), param=error.param)
    if isinstance(error, ValidationError):
        return _from_validation(error)
    if isinstance(error, QueueFullError):
        found = ApiError(429, f"{error} (--max-queue)")
        if isinstance(error, BusyError):
            found.retry_after = max(RETRY_AFTER, math.ceil(error.retry_after))
        return found
    if isinstance(error, UnsupportedError):
        return ApiError(501, str(error))
    if isinstance(error, EngineClosedError):
        return ApiError(503, str(error))
    if isinstance(error, TooLongError):
        found = ApiError(408, f"{error} (--max-request-seconds)")
        # Clients repeat what has timed out unless they are told that it would only do so again.
        found.headers = {"X-Should-Retry": "false"}
        return found
    if isinstance(error, GenerationError):
        # A constraint may turn out to be too much, or to lead nowhere, only after some tokens.
        param = str(error).partition(": ")[0]
        return ApiError(400, str(error), param=param) if param in CONSTRAINTS else ApiError(500, str(error))
    if isinstance(error, HTTPException):
        found = ApiError(error.status_code, str(error.detail))
        # On a 405 these are the methods that there are.
        found.headers = dict(error.headers or {})
        return found
    return ApiError(500, f"internal error: {type(error).__name__}")


def _from_validation(error: ValidationError) -> ApiError:
    errors = error.errors(include_url=False)
    # Where a field may be one of several things, the one that the value fits furthest was meant.
    same = [one for one in errors if one["loc"][:1] == errors[0]["loc"][:1]]
    first = max(same, key=lambda one: len(_parts(one["loc"])))
    place = "".join(_parts(first["loc"])).removeprefix(".")
    message = first["msg"]
    if first["type"] == "model_type":
        # pydantic would name its class.
        message = "Input should be an object"
    elif first["type"] == "int_type" and _exceeds_64_bits(first.get("input")):
        message = "Input is out of range; allowed: whole numbers of 64 bits"
    return ApiError(400, f"{place or 'body'}: {message} (got {shown(first.get('input'))})", param=place or None)


def _exceeds_64_bits(value: Any) -> bool:
    """Whether it was a whole number, of which the JSON parser makes a float where it has no integer for it."""
    return isinstance(value, float) and not -(2.0**63) <= value < 2.0**64


def _parts(loc: tuple[int | str, ...]) -> list[str]:
    """The steps to a place; names of union members are pydantic's, not the client's."""
    plain = ("str", "int", "float", "bool", "list", "dict")
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return [step for step in steps if step.startswith("[") or (step[1:].isidentifier() and step[1:] not in plain)]


def _methods(request: Request) -> list[str]:
    """The methods that the path of a request has routes for."""

    def has(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in ("DELETE", "GET", "PATCH", "POST", "PUT") if has(method)]


def install(app: FastAPI, shape: Callable[[str, ApiError], dict[str, Any]]) -> None:
    """Makes every exception of a route an answer; `shape` writes the error of a path."""

    async def handle(request: Request, error: Exception) -> Response:
        found = from_exception(error)
        if found.status == 405:
            # The router tells the methods of the first route of this path only.
            found.headers["Allow"] = ", ".join(_methods(request))
        return found.response(shape(request.url.path, found))

    kinds = (ApiError, InvalidRequestError, MessageError, TemplateError, ToolError, ValidationError, QueueFullError)
    for kind in (*kinds, UnsupportedError, EngineClosedError, GenerationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
