"""`/rerank` and its other names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rustllm.server.embedding import count_first


class RerankRequest(BaseModel):
    """Documents to be ordered by how well they fit a query. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

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

    @field_validator("documents", mode="before")
    @classmethod
    def _bounded_documents(cls, value: Any) -> Any:
        return count_first("documents", value, tokens=False)

    @field_validator("texts", mode="before")
    @classmethod
    def _bounded_texts(cls, value: Any) -> Any:
        return count_first("texts", value, tokens=False)
