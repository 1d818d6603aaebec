"""`/tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rustllm.server.template_fields import TemplateFields


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


class ApplyTemplateRequest(TemplateFields):
    """Messages to turn into a prompt."""
