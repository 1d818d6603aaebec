"""`/completion`: llama-server's own completion."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rustllm.server.sampling import SamplingFields

Prompt = str | dict[str, Any] | list[int | str] | list[str | dict[str, Any] | list[int | str]]


class CompletionRequest(SamplingFields):
    """A prompt, as text, tokens or both mixed, or several prompts."""

    prompt: Prompt = Field(description="Text, token ids, or a list that mixes both; or a list of prompts.")
    response_fields: list[str] | None = Field(
        None, description="Fields of the answer to keep; `a/b` names one within another."
    )
