"""`/embedding` and `/embeddings`: llama-server's own."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rustllm.limits import Caps
from rustllm.server.answers import Shape
from rustllm.server.embedding import Input, count_tokens


class EmbeddingRequest(BaseModel):
    """Texts whose vectors are wanted. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = {"content": ("inputs",), "input": ("inputs",)}

    content: Input | None = Field(None, description="A text, token ids, or a list of either.")
    input: Input | None = Field(None, description="The same, by OpenAI's name, which goes first.")
    embd_normalize: int | None = Field(
        None,
        description="What vectors are divided by: -1 nothing, 0 the largest magnitude, p the p-norm; "
        "without pooling always nothing.",
    )

    @field_validator("content", mode="before")
    @classmethod
    def _bounded_content(cls, value: Any) -> Any:
        return count_tokens("content", value)

    @field_validator("input", mode="before")
    @classmethod
    def _bounded_input(cls, value: Any) -> Any:
        return count_tokens("input", value)


class NativeEmbedding(Shape):
    """The vectors of one text."""

    index: int = Field(description="The text's place in the request.")
    embedding: list[list[float]] = Field(description="One vector, or one for each token without pooling.")
