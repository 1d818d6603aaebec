"""From a query with documents to their order."""

from __future__ import annotations

from typing import Any

from rustllm.server.embedding import check_length, embed, require_ranks
from rustllm.server.errors import ApiError
from rustllm.server.native.rerank.schemas import RerankRequest
from rustllm.server.state import Model, ServerState


async def rerank(state: ServerState, model: Model, request: RerankRequest) -> Any:
    """The documents by descending score, in Jina's shape, or in the other one where `texts` are given."""
    require_ranks(state, model)
    param, documents = ("documents", request.documents) if request.documents is not None else ("texts", request.texts)
    if not documents:
        name = "documents" if request.texts is None else param
        raise ApiError(400, f"{name}: it must be a non-empty list of texts", param=name)
    top_n = len(documents) if request.top_n is None else request.top_n
    if top_n < 0:
        raise ApiError(400, f"top_n: {top_n} is out of range; allowed: 0 or above", param="top_n")
    size = sum(len(document) + len(request.query) for document in documents)
    inputs = await state.off_loop(size, lambda: [_pair(model, request.query, text, param) for text in documents])
    found = await embed(state, model, inputs, param)
    scores = [result.floats()[0][0] for result in found]
    # Of equal scores the earlier document comes first.
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
    if request.texts is not None:
        return [_text(request, documents, index, scores[index]) for index in order]
    total = sum(result.n_tokens for result in found)
    return {
        "model": request.model or model.name,
        "object": "list",
        "usage": {"prompt_tokens": total, "total_tokens": total},
        "results": [_result(request, documents, index, scores[index]) for index in order],
    }


def _pair(model: Model, query: str, document: str, param: str) -> list[int]:
    check_length(model, [query, document], param)
    return model.native.tokenizer.encode_pair(query, document)


def _text(request: RerankRequest, documents: list[str], index: int, score: float) -> dict[str, Any]:
    body: dict[str, Any] = {"index": index, "score": score}
    return {**body, "text": documents[index]} if request.return_text else body


def _result(request: RerankRequest, documents: list[str], index: int, score: float) -> dict[str, Any]:
    body: dict[str, Any] = {"index": index, "relevance_score": score}
    return {**body, "document": {"text": documents[index]}} if request.return_documents else body
