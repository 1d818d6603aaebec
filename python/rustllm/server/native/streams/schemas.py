"""`/v1/stream` and `/v1/streams/lookup`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from rustllm.limits import LIST, Caps
from rustllm.server.answers import Shape
from rustllm.server.parts import FromClient


class LookupRequest(FromClient):
    """Names of streams that may be there."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = {"conversation_ids": LIST}

    conversation_ids: list[str] | None = Field(
        None, description="Names that streams were given in `X-Conversation-Id`; `a` finds `a::b`, too."
    )


class StreamState(Shape):
    """How far a stream is."""

    conversation_id: str = Field(description="The stream's name.")
    is_done: bool = Field(description="Whether nothing more will come.")
    total_bytes: int = Field(description="Bytes of it so far, those that are no longer kept included.")
    started_at: int = Field(description="Seconds since 1970.")
    completed_at: int = Field(description="Seconds since 1970; 0 while it is being made.")
