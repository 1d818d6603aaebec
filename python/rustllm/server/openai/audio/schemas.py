"""`/v1/audio/transcriptions`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from rustllm.server.answers import Shape
from rustllm.server.parts import FromClient


class TranscriptionRequest(FromClient):
    """Sound to be written down."""

    model_config = ConfigDict(protected_namespaces=())

    file: str = Field(description="Refused: no model here takes sound.")
    model: str | None = Field(None, description="Any name is served.")


class Transcription(Shape):
    """What was said."""

    text: str = Field(description="The words.")
