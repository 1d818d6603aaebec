"""`/embedding` and `/embeddings`: llama-server's own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from rustllm.limits import Caps
from rustllm.server.answers import Shape
from rustllm.server.embedding import INPUT, Input
from rustllm.server.parts import FromClient


class EmbeddingRequest(FromClient):
    """Texts whose vectors are wanted. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = {"content": INPUT, "input": INPUT}

    content: Input | None = Field(None, description="A text, token ids, or a list of either.")
    input: Input | None = Field(None, description="The same, by OpenAI's name, which goes first.")
    embd_normalize: int | None = Field(
        None,
        description="What vectors are divided by: -1 nothing, 0 the largest magnitude, p the p-norm; "
        "without pooling always nothing.",
    )


class NativeEmbedding(Shape):
    """The vectors of one text."""

    index: int = Field(description="The text's place in the request.")
    embedding: list[list[float]] = Field(description="One vector, or one for each token without pooling.")
