"""Errors in Anthropic's shape, and the other ways of its dialect."""

from __future__ import annotations

from typing import Any

from rustllm.server.dialects import Dialect
from rustllm.server.errors import ApiError
from rustllm.server.state import request_id

#: Anthropic's names where they differ from those of `errors.TYPES`.
_TYPES = {408: "timeout_error", 413: "request_too_large", 500: "api_error", 503: "overloaded_error"}


def error_body(error: ApiError) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    kind = error.kind if error.status in (401, 403, 404, 429) else "invalid_request_error"
    found = {"type": _TYPES.get(error.status, kind), "message": str(error)}
    return {"type": "error", "error": found, "request_id": request_id.get()}


DIALECT = Dialect(paths=("/v1/messages",), error=error_body, id_header="request-id")
