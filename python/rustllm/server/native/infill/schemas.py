"""`/infill`: filling in the middle of a text."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from rustllm.limits import LIST, Caps
from rustllm.server.native.completion.schemas import Answered
from rustllm.server.parts import AsGiven, Part
from rustllm.server.sampling import SamplingFields


class Extra(Part):
    """A file that the model may look at."""

    text: str = Field(description="Its content.")
    filename: str | None = Field(None, description="Its name; `tmp` without one.")


class InfillRequest(Answered):
    """What stands before and after the text that is wanted."""

    model_config = ConfigDict(defer_build=False)

    caps: ClassVar[Caps] = {
        **SamplingFields.caps,
        "input_prefix": ("token_ids",),
        "input_suffix": ("token_ids",),
        "input_extra": LIST,
    }

    input_prefix: str | list[int | str] = Field(description="What stands before: text, or texts and token ids mixed.")
    input_suffix: str | list[int | str] = Field(description="What stands after.")
    input_extra: list[Annotated[dict[str, Any], AsGiven(Extra)]] | None = Field(
        None, description="Further files, the most relevant last."
    )
    prompt: str | None = Field(None, description="Text that the answer goes on from, behind the prefix.")
