"""`/v1/completions`: OpenAI's legacy completion."""

from __future__ import annotations

from pydantic import Field

from rustllm.server.native.completion.schemas import Prompt
from rustllm.server.openai.chat.schemas import StreamOptions
from rustllm.server.sampling import SamplingFields


class OpenAICompletionRequest(SamplingFields):
    """One or several prompts to continue."""

    prompt: Prompt = Field(description="Text, token ids, or a list of either.")
    model: str | None = Field(None, description="Any name is served.")
    logprobs: int | None = Field(None, description="Most probable tokens reported with each token.")
    stream_options: StreamOptions | None = Field(None, description="Accepted; the last chunk has the usage.")
    echo: bool | None = Field(None, description="Only false is supported, as in llama-server.")
    suffix: str | None = Field(None, description="Not supported, as in llama-server.")
    best_of: int | None = Field(None, description="Only 1 is supported.")
