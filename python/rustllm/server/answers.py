"""What the answers of several families have in common, for the documents.

Each family's own answers stand in its `schemas.py`. Tests hold live answers against these models.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A part of an answer; it has no other fields than these."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())


class ErrorDetail(Shape):
    """What is wrong."""

    message: str = Field(description="Names the field, what it got and what it allows.")
    type: str = Field(description="The kind of error, by OpenAI's names.")
    code: int = Field(description="The HTTP status.")
    param: str | None = Field(description="The field at fault.")
    n_prompt_tokens: int | None = Field(None, description="With exceed_context_size_error: the prompt's length.")
    n_ctx: int | None = Field(None, description="With exceed_context_size_error: the context of a slot.")


class Error(Shape):
    """Every answer of a status from 400 on."""

    error: ErrorDetail = Field(description="What is wrong.")


class Timings(Shape):
    """Counts, milliseconds and rates."""

    cache_n: int = Field(description="Prompt tokens taken from the cache.")
    prompt_n: int = Field(description="Prompt tokens computed.")
    prompt_ms: float = Field(description="Milliseconds from the slot to the first token.")
    prompt_per_token_ms: float = Field(description="Milliseconds for each computed prompt token.")
    prompt_per_second: float = Field(description="Prompt tokens computed a second.")
    predicted_n: int = Field(description="Tokens generated.")
    predicted_ms: float = Field(description="Milliseconds since the first token.")
    predicted_per_token_ms: float = Field(description="Milliseconds for each generated token.")
    predicted_per_second: float = Field(description="Tokens generated a second.")


class PromptProgress(Shape):
    """How far the prompt is computed; only with `return_progress`."""

    total: int = Field(description="Prompt tokens in all.")
    cache: int = Field(description="Of these, taken from the cache.")
    processed: int = Field(description="Of these, in the cache now.")
    time_ms: int = Field(description="Milliseconds since the request got its slot.")


class TopProb(Shape):
    """A token with its probability before sampling, or after it with `post_sampling_probs`."""

    id: int = Field(description="The token id.")
    token: str = Field(description="The token's text; bytes that are not UTF-8 become U+FFFD.")
    bytes: list[int] = Field(description="The token's bytes.")
    logprob: float | None = Field(None, description="Log probability, before the sampler chain.")
    prob: float | None = Field(None, description="With `post_sampling_probs`: the probability after the chain.")


class Prob(TopProb):
    """The token of the answer, with the most probable ones."""

    top_logprobs: list[TopProb] | None = Field(None, description="The most probable tokens, before the chain.")
    top_probs: list[TopProb] | None = Field(
        None, description="With `post_sampling_probs`: the most probable tokens after the chain."
    )


class LogProbs(Shape):
    """Probabilities, a token an entry."""

    content: list[Prob] = Field(description="An entry for each token.")


class PromptLogprob(Shape):
    """How probable a token was at a place of the prompt, in vLLM's shape."""

    logprob: float = Field(description="Log probability, before the sampler chain.")
    rank: int = Field(description="Its place among all tokens; the most probable is 1.")
    decoded_token: str = Field(description="The token's text; bytes that are not UTF-8 become U+FFFD.")


class PromptDetails(Shape):
    """What the prompt cost."""

    cached_tokens: int = Field(description="Prompt tokens taken from the cache.")


class Usage(Shape):
    """Token counts over all choices."""

    prompt_tokens: int = Field(description="Tokens of the prompt.")
    completion_tokens: int = Field(description="Tokens generated.")
    total_tokens: int = Field(description="Both together.")
    prompt_tokens_details: PromptDetails = Field(description="What the prompt cost.")
