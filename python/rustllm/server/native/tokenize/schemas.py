"""`/tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TokenizeRequest(BaseModel):
    """A text to cut into tokens."""

    model_config = ConfigDict(strict=True)

    content: str | list[int | str] = Field(description="The text, or a list that mixes texts and token ids.")
    add_special: bool | None = Field(None, description="Add BOS and EOS where the model asks for them.")
    parse_special: bool | None = Field(None, description="Read the texts of special tokens as these tokens.")
    with_pieces: bool | None = Field(None, description="Return each token's text beside its id.")


class DetokenizeRequest(BaseModel):
    """Tokens to turn into text."""

    model_config = ConfigDict(strict=True)

    tokens: list[int] = Field(description="Token ids.")


class ApplyTemplateRequest(BaseModel):
    """Messages to turn into a prompt."""

    model_config = ConfigDict(strict=True)

    messages: Any = Field(description="The chat, as in /v1/chat/completions.")
    tools: list[dict[str, Any]] | None = Field(None, description="Functions that the template shows to the model.")
    add_generation_prompt: bool | None = Field(
        None, description="Whether the prompt ends where the answer begins; true by default."
    )
    continue_final_message: bool | None = Field(
        None, description="Whether the last message is an answer to go on with."
    )
    chat_template: Any = Field(None, description="Refused: templates come from the operator.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Values for the template, of the names that the operator allows."
    )
