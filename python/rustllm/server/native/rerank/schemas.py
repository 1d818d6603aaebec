"""`/rerank` and its other names."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import Caps
from rustllm.server.answers import Shape
from rustllm.server.embedding import TokenUsage
from rustllm.server.parts import FromClient


class RerankRequest(FromClient):
    """Documents to be ordered by how well they fit a query. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = {"documents": ("documents",), "texts": ("documents",)}

    query: str = Field(description="What is looked for.")
    documents: list[str] | None = Field(None, description="The documents; the answer has Jina's shape.")
    texts: list[str] | None = Field(
        None, description="The documents by another name; the answer has the shape of Text Embeddings Inference."
    )
    top_n: int | None = Field(None, description="Documents to return at most, all by default.")
    model: str | None = Field(None, description="Any name is served.")
    return_documents: bool | None = Field(None, description="Return each document beside its score, with `documents`.")
    return_text: bool | None = Field(None, description="The same with `texts`.")
    raw_scores: bool | None = Field(None, description="Accepted; scores are always the model's own.")


class DocumentText(Shape):
    """A document."""

    text: str = Field(description="The document as it was sent.")


class RankedDocument(Shape):
    """A document with its score, in Jina's shape."""

    index: int = Field(description="The document's place in the request.")
    relevance_score: float = Field(description="The model's score; higher is better.")
    document: DocumentText | None = Field(None, description="Only with `return_documents`.")


class Ranking(Shape):
    """Documents by descending score, in Jina's shape."""

    object: Literal["list"] = Field(description="What this is.")
    model: str = Field(description="The name that the request gave, or the model's own.")
    usage: TokenUsage = Field(description="Token counts.")
    results: list[RankedDocument] = Field(description="The documents, best first.")


class RankedText(Shape):
    """A text with its score, in the shape of Text Embeddings Inference."""

    index: int = Field(description="The text's place in the request.")
    score: float = Field(description="The model's score; higher is better.")
    text: str | None = Field(None, description="Only with `return_text`.")
