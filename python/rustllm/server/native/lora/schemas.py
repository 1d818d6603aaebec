"""`/lora-adapters`: what is asked and answered."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, RootModel

from rustllm.limits import LIST, Caps
from rustllm.server.answers import Shape
from rustllm.server.parts import FromClient
from rustllm.server.sampling import LoraScale


class Adapter(Shape):
    """A loaded adapter."""

    id: int = Field(description="The adapter's number, by which requests name it.")
    path: str = Field(description="Its file.")
    scale: float = Field(description="Its weight in requests that name no adapters; 0 is off.")
    task_name: str = Field(description="What it is for, as the file says.")
    prompt_prefix: str = Field(description="What prompts for it begin with, as the file says.")


class LoraScales(FromClient, RootModel[list[LoraScale]]):
    """Weights of adapters; those that are not listed are off."""

    caps: ClassVar[Caps] = {"": LIST}
