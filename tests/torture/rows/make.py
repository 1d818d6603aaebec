"""Short ways to write rows."""

from __future__ import annotations

import json
from typing import Any

from tests.support.attack import Row, Send

COMPLETION = "/completion"
CHAT = "/v1/chat/completions"

#: What makes a request of each route whole, and its answer short.
WHOLE: dict[str, dict[str, Any]] = {
    COMPLETION: {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0},
    CHAT: {"messages": [{"role": "user", "content": "Hey"}], "max_tokens": 4},
    "/v1/completions": {"prompt": "Hey", "max_tokens": 4},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hey"}], "max_tokens": 4},
    "/v1/responses": {"input": "Hey", "max_output_tokens": 4},
    "/api/chat": {"messages": [{"role": "user", "content": "Hey"}], "stream": False, "options": {"num_predict": 4}},
    "/v1/embeddings": {"input": "Hey"},
    "/tokenize": {"content": "Hey"},
    "/detokenize": {"tokens": [1]},
    "/apply-template": {"messages": [{"role": "user", "content": "Hey"}]},
}


def posted(path: str, content: bytes, headers: dict[str, str] | None = None) -> Send:
    """A POST of these bytes."""
    return lambda target: target.post(path, content, headers)


def body(path: str, fields: dict[str, Any]) -> bytes:
    """The whole request of a route with other fields, as bytes."""
    merged = {**WHOLE[path], **fields}
    if path == COMPLETION and "max_tokens" in fields:
        del merged["n_predict"]
    return json.dumps(merged).encode()


def with_fields(
    kind: str, text: str, path: str = COMPLETION, *, row: dict[str, Any] | None = None, **given: Any
) -> Row:
    """A whole request with these fields, of which the last is at fault; `row` are parts of the row."""
    parts: dict[str, Any] = {"param": list(given)[-1], **(row or {})}
    return Row(kind, text, posted(path, body(path, given)), **parts)
