"""The streams that clients come back to."""

from __future__ import annotations

from typing import Any

from rustllm.server.errors import ApiError
from rustllm.server.native.streams.schemas import LookupRequest
from rustllm.server.resumable import MAX_BYTES, Session, Streams


def required_name(name: str | None) -> str:
    """The name that a request must give."""
    if name:
        return name
    raise ApiError(400, "conv_id: it is missing; the name of a stream is needed", param="conv_id")


def stream_at(streams: Streams, name: str | None, start: str | None) -> tuple[Session, int]:
    """The stream of a name, and the offset to read it from."""
    session = streams.get(required_name(name))
    if session is None:
        raise ApiError(404, "Stream not found or expired", param="conv_id")
    text = start or "0"
    # No stream has more bytes than fit eighteen digits.
    offset = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
    if session.n_dropped <= offset <= session.n_bytes:
        return session, offset
    allowed = f"allowed: {session.n_dropped} to {session.n_bytes}"
    if 0 <= offset < session.n_dropped:
        lost = f"is lost, since only the latest {MAX_BYTES} bytes are kept"
        raise ApiError(400, f"from: {offset} {lost}; {allowed}", param="from")
    raise ApiError(400, f"from: {text!r:.60} is no place in the stream; {allowed}", param="from")


def lookup(streams: Streams, request: LookupRequest) -> list[dict[str, Any]]:
    """How far the streams of these names are; names without one are left out."""
    return [
        {
            "conversation_id": session.name,
            "is_done": session.is_done,
            "total_bytes": session.n_bytes,
            "started_at": session.started_at,
            "completed_at": session.completed_at,
        }
        for session in streams.find(request.conversation_ids or [])
    ]
