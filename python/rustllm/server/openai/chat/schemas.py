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
    stream_options: StreamOptions | None = Field(None, description="What a stream carries beside the text.")
    response_format: dict[str, Any] | None = Field(
        None, description="`text`, `json_object` (with `schema` on demand) or `json_schema`."
    )
    logprobs: bool | None = Field(None, description="Report log probabilities.")
    top_logprobs: int | None = Field(None, description="Most probable tokens reported with each token, with logprobs.")
    tools: list[dict[str, Any]] | None = Field(None, description="Tools that the template shows to the model.")
    tool_choice: str | dict[str, Any] | None = Field(None, description="`auto` or `none`.")
    add_generation_prompt: bool | None = Field(None, description="Open the assistant turn; true by default.")
    continue_final_message: bool | None = Field(None, description="Continue the last message instead of answering it.")
    chat_template: Any = Field(None, description="Refused: templates come from the model or the operator.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Values for the template, of the names that the operator allows."
    )
