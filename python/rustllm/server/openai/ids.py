"""What OpenAI's answers have in common."""

from __future__ import annotations

import secrets
from time import time
from typing import Any

from rustllm.server.native.props.service import BUILD


def envelope(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """id, object, creation time, model and fingerprint of an answer."""
    return {
        "id": prefix + secrets.token_urlsafe(24),
        "object": kind,
        "created": int(time()),
        "model": model,
        "system_fingerprint": BUILD,
    }
