"""What the embedding and rerank endpoints answer, for the documents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rustllm.server.answers import Shape


class EmbeddingUsage(Shape):
    """Token counts over all texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingEntry(Shape):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="Numbers, or with `base64` the bytes of little-endian f32.")
    encoding_format: Literal["base64"] | None = Field(None, description="Only with `base64`.")


class Embeddings(Shape):
    """A whole answer of `/v1/embeddings`."""

    object: Literal["list"]
    data: list[EmbeddingEntry]
    model: str
    usage: EmbeddingUsage


class NativeEmbedding(Shape):
    """The vectors of one text: one, or one for each token without pooling."""

    index: int
    embedding: list[list[float]]


class DocumentText(Shape):
    """A document."""

    text: str


class RankedDocument(Shape):
    """A document with its score, in Jina's shape."""

    index: int = Field(description="Its place in the request.")
    relevance_score: float
    document: DocumentText | None = Field(None, description="Only with `return_documents`.")


class Ranking(Shape):
    """Documents by descending score, in Jina's shape."""

    object: Literal["list"]
    model: str
    usage: EmbeddingUsage
    results: list[RankedDocument]


class RankedText(Shape):
    """A text with its score, in the shape of Text Embeddings Inference."""

    index: int = Field(description="Its place in the request.")
    score: float
    text: str | None = Field(None, description="Only with `return_text`.")
