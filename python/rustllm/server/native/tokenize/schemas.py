"""`/tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rustllm.server.answers import Shape
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


class Piece(Shape):
    """A token with its text, or its bytes where they are no text."""

    id: int = Field(description="The token id.")
    piece: str | list[int] = Field(description="The token's text, or its bytes.")


class Tokens(Shape):
    """The tokens of a text; with `with_pieces` each with its text."""

    tokens: list[int] | list[Piece] = Field(description="Token ids, or tokens with their texts.")


class Content(Shape):
    """The text of tokens."""

    content: str = Field(description="The text; bytes that are not UTF-8 become U+FFFD.")


class Prompt(Shape):
    """The prompt that a chat becomes."""

    prompt: str = Field(description="The text that a chat completion would start from.")
