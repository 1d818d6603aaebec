"""`/v1/chat/completions`: OpenAI's fields, and llama-server's sampling fields beside them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rustllm.server.sampling import SamplingFields
from rustllm.server.template_fields import TemplateFields


class StreamOptions(BaseModel):
    """What a stream carries beside the text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class ChatRequest(TemplateFields, SamplingFields):
    """A chat to be answered. Unknown fields are ignored."""

    model: str | None = Field(None, description="Any name is served.")
    stream_options: StreamOptions | None = Field(None, description="What a stream carries beside the text.")
    response_format: dict[str, Any] | None = Field(
        None, description="`text`, `json_object` (with `schema` on demand) or `json_schema`."
    )
    logprobs: bool | None = Field(None, description="Report log probabilities.")
    top_logprobs: int | None = Field(None, description="Most probable tokens reported with each token, with logprobs.")
    tool_choice: str | dict[str, Any] | None = Field(None, description="`auto` or `none`.")
