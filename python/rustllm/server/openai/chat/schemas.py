"""`/v1/chat/completions`: OpenAI's fields, and llama-server's sampling fields beside them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rustllm.server.sampling import SamplingFields


class StreamOptions(BaseModel):
    """What a stream carries beside the text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class ChatRequest(SamplingFields):
    """A chat to be answered. Unknown fields are ignored."""

    messages: Any = Field(description="A list of messages with role and content.")
    model: str | None = Field(None, description="Any name is served.")
    max_completion_tokens: int | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: Any = None
    chat_template_kwargs: dict[str, Any] | None = None
