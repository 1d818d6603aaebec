"""Errors in Ollama's shape, `{"error": message}`, and its dialect."""

from __future__ import annotations

from typing import Any

from rustllm.server.dialects import Dialect
from rustllm.server.errors import ApiError


def error_body(error: ApiError) -> dict[str, Any]:
    """The message is all there is."""
    return {"error": str(error)}


DIALECT = Dialect(paths=("/api",), error=error_body)
