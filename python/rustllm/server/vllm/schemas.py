"""Answers in vLLM's shapes."""

from __future__ import annotations

from pydantic import Field

from rustllm.server.answers import Shape


class Version(Shape):
    """The version."""

    version: str = Field(description="The version of rustllm.")
