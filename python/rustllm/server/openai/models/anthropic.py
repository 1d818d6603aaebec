"""`/v1/models` as Anthropic's clients know it; the path is OpenAI's as well, so a header tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from fastapi import Request


def asks_for_anthropic(request: Request) -> bool:
    """Whether a request is one of Anthropic's clients, which send the version of their API."""
    return "anthropic-version" in request.headers


def model_page(models: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The models by name and creation, seconds since 1970, as one page that has them all."""
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": datetime.fromtimestamp(created, timezone.utc).isoformat().replace("+00:00", "Z"),
            "lifecycle": "active",
        }
        for name, created in models
    ]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}
