"""`/v1/completions`: OpenAI's legacy completion."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from rustllm.limits import Caps
from rustllm.server.answers import LogProbs, PromptLogprob, PromptProgress, Shape
from rustllm.server.constraints import CAPS, ConstraintFields
from rustllm.server.native.completion.schemas import PROMPT, Prompt
from rustllm.server.openai.chat.schemas import StreamOptions
from rustllm.server.openai.schemas import Envelope
from rustllm.server.sampling import SamplingFields


class OpenAICompletionRequest(ConstraintFields, SamplingFields):
    """One or several prompts to continue."""

    caps: ClassVar[Caps] = {**SamplingFields.caps, **CAPS, "prompt": PROMPT, "logprobs": ("logprobs",)}

    prompt: Prompt = Field(description="Text, token ids, or a list of either.")
    model: str | None = Field(None, description="Any name is served.")
    logprobs: int | None = Field(None, description="Most probable tokens reported with each token.")
    stream_options: StreamOptions | None = Field(None, description="Accepted; the last chunk has the usage.")
    echo: bool | None = Field(
        None, description="Begin the text with the prompt, and with `logprobs` its log probabilities."
    )
    suffix: str | None = Field(None, description="What stands behind the answer, for models that `/infill` is for.")
    best_of: int | None = Field(None, description="Only 1 is supported.")


class TextLogProbs(LogProbs):
    """The log probabilities of a text, in OpenAI's older shape beside llama-server's."""

    tokens: list[str] | None = Field(None, description="The tokens; not with `post_sampling_probs`.")
    token_logprobs: list[float | None] | None = Field(
        None, description="Their log probabilities; null for the first token of a prompt that is echoed."
    )
    top_logprobs: list[dict[str, float] | None] | None = Field(
        None, description="The most probable tokens at each place."
    )
    text_offset: list[int] | None = Field(None, description="Where each token begins in the text.")


class TextChoice(Shape):
    """One answer, or what is new of it."""

    index: int = Field(description="Which answer this is, of all prompts and choices.")
    text: str = Field(description="The text, or what is new of it.")
    logprobs: TextLogProbs | None = Field(description="With `logprobs`.")
    finish_reason: Literal["stop", "length"] | None = Field(description="Why it ended; `length` is a limit.")
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = Field(
        None, description="With `prompt_logprobs`: by token id, for each token of the prompt; null for the first."
    )


class TextCompletion(Envelope):
    """A whole answer of `/v1/completions`, and an event of its streams."""

    object: Literal["text_completion"] = Field(description="What this is.")
    choices: list[TextChoice] = Field(description="The answers, or what is new of them.")
    prompt_progress: PromptProgress | None = Field(None, description="With `return_progress`, before the text.")
