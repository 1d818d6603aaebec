"""`/v1/embeddings`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import Caps
from rustllm.server.answers import Shape
from rustllm.server.embedding import INPUT, Input, TokenUsage
from rustllm.server.parts import FromClient


class EmbeddingsRequest(FromClient):
    """Texts whose vectors are wanted. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = {"input": INPUT}

    input: Input = Field(
        description="A text, token ids, an object whose `content` has parts of text, or a list of these."
    )
    model: str | None = Field(None, description="Any name is served.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`float`, or `base64` for the bytes of little-endian f32."
    )
    dimensions: int | None = Field(
        None, description="Keep so many of the first values, normalized anew; what models of nested vectors allow."
    )
    embd_normalize: int | None = Field(
        None, description="What vectors are divided by: -1 nothing, 0 the largest magnitude, p the p-norm."
    )
    user: str | None = Field(None, description="Accepted.")


class EmbeddingEntry(Shape):
    """The vector of one text."""

    object: Literal["embedding"] = Field(description="What this is.")
    index: int = Field(description="The text's place in the request.")
    embedding: list[float] | str = Field(description="Numbers, or with `base64` the bytes of little-endian f32.")
    encoding_format: Literal["base64"] | None = Field(None, description="Only with `base64`.")


class Embeddings(Shape):
    """A whole answer of `/v1/embeddings`."""

    object: Literal["list"] = Field(description="What this is.")
    data: list[EmbeddingEntry] = Field(description="The vectors, in the order of the texts.")
    model: str = Field(description="The name that the request gave, or the model's own.")
    usage: TokenUsage = Field(description="Token counts.")
