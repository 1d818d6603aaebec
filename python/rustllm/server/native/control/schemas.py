"""`/v1/chat/completions/control`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from rustllm.server.answers import Shape
from rustllm.server.parts import FromClient


class ControlRequest(FromClient):
    """What to do with an answer that is being streamed."""

    model_config = ConfigDict(strict=True, protected_namespaces=())

    id: str | None = Field(None, description="The id in the chunks of the stream.")
    action: str | None = Field(
        None,
        description="`reasoning_end` ends the thought that is being written; the request must have set "
        "`reasoning_control`.",
        json_schema_extra={"enum": ["reasoning_end"]},
    )
    model: str | None = Field(None, description="Any name is served.")


class Controlled(Shape):
    """Whether it was done."""

    success: bool = Field(description="Whether it was done.")
    message: str | None = Field(None, description="Why it was not done.")
