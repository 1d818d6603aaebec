"""`/v1/completions`: OpenAI's legacy completion."""

from __future__ import annotations

from pydantic import Field

from rustllm.server.native.completion.schemas import Prompt
from rustllm.server.openai.chat.schemas import StreamOptions
from rustllm.server.sampling import SamplingFields


class OpenAICompletionRequest(SamplingFields):
    """One or several prompts to continue."""

    prompt: Prompt = Field(description="Text, token ids, or a list of either.")
    model: str | None = None
    logprobs: int | None = Field(None, description="Most probable tokens reported with each token.")
    stream_options: StreamOptions | None = None
    echo: bool | None = None
    suffix: str | None = None
