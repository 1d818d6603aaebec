"""What OpenAI's answers have in common."""

from __future__ import annotations

from pydantic import Field

from rustllm.server.answers import Shape, Timings, Usage
from rustllm.server.native.completion.schemas import Completion


class Envelope(Shape):
    """What stands around the choices."""

    id: str = Field(description="A name that no other answer has.")
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="The name that the request used, else the model's.")
    system_fingerprint: str = Field(description="The build of the server.")
    usage: Usage | None = Field(None, description="Token counts; in a stream at its end.")
    timings: Timings | None = Field(None, description="Counts and durations; in a stream at its end.")
    verbose_: Completion | None = Field(None, alias="__verbose", description="Only with `verbose`.")
