"""`/completion`: llama-server's own completion."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from rustllm.limits import Caps
from rustllm.server.answers import Prob, PromptProgress, Shape, Timings
from rustllm.server.errors import ApiError
from rustllm.server.generation_settings import GenerationSettings
from rustllm.server.parts import Described, Part
from rustllm.server.sampling import SamplingFields

#: What bounds a prompt.
PROMPT = ("prompts", "token_ids")

#: Fields that a request may choose of its answer.
MAX_RESPONSE_FIELDS = 128


class PromptFields(Part):
    """A prompt as an object, which is llama-server's form for prompts with media."""

    prompt_string: str = Field(description="The text.")
    multimodal_data: list[str] | None = Field(None, description="Media; only an empty list is supported.")


PromptObject = Annotated[dict[str, Any], Described(PromptFields)]
Prompt = str | PromptObject | list[int | str] | list[str | PromptObject | list[int | str]]


class Answered(SamplingFields):
    """What requests have in common that get a completion."""

    # Nothing is read into this class itself, so that its validator is never needed.
    model_config = ConfigDict(defer_build=True)

    response_fields: list[str] | None = Field(
        default=None, description="Fields of the answer to return, all by default; `a/b` is field b of a."
    )

    @field_validator("response_fields", mode="before")
    @classmethod
    def _few_enough(cls, paths: Any) -> Any:
        if isinstance(paths, list) and len(paths) > MAX_RESPONSE_FIELDS:
            message = f"response_fields: it has {len(paths)} entries; allowed: up to {MAX_RESPONSE_FIELDS}"
            raise ApiError(400, message, param="response_fields")
        return paths


class CompletionRequest(Answered):
    """A prompt, as text, tokens or both mixed, or several prompts."""

    model_config = ConfigDict(defer_build=False)

    caps: ClassVar[Caps] = {**SamplingFields.caps, "prompt": PROMPT}

    prompt: Prompt = Field(description="Text, token ids, or a list that mixes both; or a list of prompts.")


class Completion(Shape):
    """A whole answer of `/completion`, and the last event of a stream."""

    index: int = Field(description="Which answer this is, of all prompts and choices.")
    content: str = Field(description="The text; empty at the end of a stream.")
    tokens: list[int] = Field(description="Token ids, with `return_tokens`.")
    id_slot: int = Field(description="The slot that it ran in.")
    stop: Literal[True] = Field(description="That the answer is complete.")
    model: str = Field(description="The model's name.")
    tokens_predicted: int = Field(description="Tokens generated.")
    tokens_evaluated: int = Field(description="Tokens of the prompt.")
    generation_settings: GenerationSettings = Field(description="The settings that it was made with.")
    prompt: str = Field(description="The prompt's text.")
    has_new_line: bool = Field(description="Whether the text has a line break.")
    truncated: bool = Field(description="Whether the context was full.")
    stop_type: Literal["eos", "limit", "word"] = Field(
        description="Why it ended: an end token, a limit or a stop string."
    )
    stopping_word: str = Field(description="The stop string, with `word`.")
    tokens_cached: int = Field(description="Tokens of prompt and answer in the cache.")
    timings: Timings = Field(description="Counts and durations.")
    completion_probabilities: list[Prob] | None = Field(None, description="Only with `n_probs`.")


class CompletionEvent(Shape):
    """An event of a stream of `/completion`, before the last."""

    index: int = Field(description="Which answer this is, of all prompts and choices.")
    content: str = Field(description="The text that is new.")
    tokens: list[int] = Field(description="The token ids that are new.")
    id_slot: int = Field(description="The slot that it runs in.")
    stop: Literal[False] = Field(description="That the answer goes on.")
    tokens_predicted: int = Field(description="Tokens generated so far.")
    tokens_evaluated: int = Field(description="Tokens of the prompt.")
    timings: Timings | None = Field(None, description="With `timings_per_token`.")
    prompt_progress: PromptProgress | None = Field(None, description="With `return_progress`, before the text.")
    completion_probabilities: list[Prob] | None = Field(None, description="With `n_probs`.")
