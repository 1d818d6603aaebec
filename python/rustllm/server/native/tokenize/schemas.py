"""`/tokenize`, `/detokenize`, `/apply-template`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from rustllm.limits import Caps
from rustllm.server.answers import Shape
from rustllm.server.parts import Described, FromClient
from rustllm.server.template_fields import MessageFields, TemplateFields


class TokenizeRequest(TemplateFields):
    """A text to cut into tokens: llama-server's `content`, or vLLM's `prompt` or `messages`, each with the
    fields of its API."""

    model_config = ConfigDict(strict=True, protected_namespaces=())

    caps: ClassVar[Caps] = {
        **TemplateFields.caps,
        "content": ("tokenize_bytes", "token_ids"),
        "prompt": ("tokenize_bytes",),
    }

    content: str | list[int | str] | None = Field(
        None, description="The text, or a list that mixes texts and token ids, as in llama-server."
    )
    add_special: bool | None = Field(
        None, description="With `content`: add BOS and EOS where the model asks for them; false by default."
    )
    parse_special: bool | None = Field(
        None, description="With `content`: read the texts of special tokens as these tokens; true by default."
    )
    with_pieces: bool | None = Field(None, description="With `content`: return each token's text beside its id.")
    prompt: str | None = Field(None, description="The text, as in vLLM; texts of special tokens are these tokens.")
    messages: Annotated[Any, Described(MessageFields, many=True)] = Field(
        None, description="A chat whose prompt is the text, as in vLLM; the fields of the template go with it."
    )
    model: str | None = Field(None, description="Any name is served.")
    add_special_tokens: bool | None = Field(
        None,
        description="With `prompt` and `messages`: add BOS and EOS where the model asks for them; true by default.",
    )
    return_token_strs: bool | None = Field(
        None, description="With `prompt` and `messages`: return each token's text in the vocabulary, too."
    )


class DetokenizeRequest(FromClient):
    """Tokens to turn into text."""

    model_config = ConfigDict(strict=True, protected_namespaces=())

    caps: ClassVar[Caps] = {"tokens": ("token_ids",)}

    tokens: list[int] = Field(description="Token ids.")
    model: str | None = Field(None, description="Any name is served.")


class ApplyTemplateRequest(TemplateFields):
    """Messages to turn into a prompt."""


class Piece(Shape):
    """A token with its text, or its bytes where they are no text."""

    id: int = Field(description="The token id.")
    piece: str | list[int] = Field(description="The token's text, or its bytes.")


class Tokens(Shape):
    """The tokens of a text; with `with_pieces` each with its text."""

    tokens: list[int] | list[Piece] = Field(description="Token ids, or tokens with their texts.")


class CountedTokens(Shape):
    """The tokens of vLLM's `prompt` or `messages`."""

    count: int = Field(description="How many tokens there are.")
    max_model_len: int = Field(description="Context tokens of one slot.")
    tokens: list[int] = Field(description="Token ids.")
    token_strs: list[str] | None = Field(description="With `return_token_strs`: the tokens' texts in the vocabulary.")


class Content(Shape):
    """The text of tokens; both APIs ask in the same way."""

    content: str = Field(description="The text by llama-server's name; bytes that are not UTF-8 become U+FFFD.")
    prompt: str = Field(description="The same by vLLM's name.")


class Prompt(Shape):
    """The prompt that a chat becomes."""

    prompt: str = Field(description="The text that a chat completion would start from.")
