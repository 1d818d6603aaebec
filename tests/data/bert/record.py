"""Asks llama-server for vectors and scores and writes them to recorded.json, so that tests need no peer.

Usage: python -m tests.data.bert.record LLAMA-SERVER MINILM.gguf
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.peer import Peer, ask

HERE = Path(__file__).parent
STORIES = HERE.parents[2] / "python/rustllm/models/stories260K.gguf"

TEXTS = [
    "hello world",
    "",
    "What is the capital of France?",
    "Paris is the capital and most populous city of France.",
    "Der Käse ist naïve; 東京 and Ünïcödé – 🎉!",  # noqa: RUF001
    "def add(a, b):\n    return a + b",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "word " * 300,
]

PLAIN = ["the cat read a red book", "paris is the capital city of france.", "", "unread stars", "the river " * 120]

QUERY = "what is the capital of france?"
DOCUMENTS = ["paris is the capital of france.", "the cat was in the house", "a red book", "", "river " * 200]


def rounded(value: Any) -> Any:
    """Numbers with seven digits, which is what f32 has."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.7g}")


def vectors(texts: list[str], **fields: Any) -> Any:
    """The vectors of texts, asked for one by one."""
    return [rounded(ask("/embedding", {"content": text, **fields})[0]["embedding"]) for text in texts]


def main(program: str, minilm: Path) -> None:
    out: dict[str, Any] = {"texts": TEXTS, "plain": PLAIN, "query": QUERY, "documents": DOCUMENTS}
    with Peer(program, minilm, "--embedding"):
        out["minilm"] = [vector for (vector,) in vectors(TEXTS)]
        out["normalized"] = {str(n): vectors(["hello world"], embd_normalize=n)[0][0] for n in (-1, 0, 1, 3)}
    for pooling in ("cls", "mean", "last"):
        with Peer(program, HERE / "cls.gguf", "--embedding", "--pooling", pooling):
            out[f"cls.{pooling}"] = [vector for (vector,) in vectors(PLAIN)]
        with Peer(program, STORIES, "--embedding", "--pooling", pooling):
            out[f"stories.{pooling}"] = [vector for (vector,) in vectors(PLAIN[:2])]
    with Peer(program, HERE / "cls.gguf", "--embedding", "--pooling", "none"):
        out["cls.none"] = vectors(PLAIN[:1])
    with Peer(program, HERE / "rank.gguf", "--rerank"):
        answer = ask("/v1/rerank", {"query": QUERY, "documents": DOCUMENTS})
        scores = {row["index"]: rounded(row["relevance_score"]) for row in answer["results"]}
        out["rank"] = [scores[index] for index in range(len(DOCUMENTS))]
        out["rank_tokens"] = answer["usage"]["prompt_tokens"]
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in out.items()]
    (HERE / "recorded.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
