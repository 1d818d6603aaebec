"""Embeddings for tests: the engine driven directly, the recorded vectors, and how alike two vectors are."""

from __future__ import annotations

import json
import math
import select
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rustllm._rustllm import Engine

DATA = Path(__file__).resolve().parents[1] / "data/bert"
CLS, RANK = DATA / "cls.gguf", DATA / "rank.gguf"
MINILM = Path(__file__).resolve().parents[2] / ".models/all-MiniLM-L6-v2.F16.gguf"


def recorded() -> Any:
    """What llama-server answered; see `tests/data/bert/record.py`."""
    return json.loads((DATA / "recorded.json").read_text(encoding="utf-8"))


def embed(engine: Engine, inputs: Sequence[Sequence[int]], **options: Any) -> list[list[bytes]]:
    """The vectors of each input, in one request."""
    options.setdefault("normalize", 2)
    request = engine.embed(inputs, **options)
    found: dict[int, list[bytes]] = {}
    while len(found) < len(inputs):
        select.select([engine.fileno()], [], [], 60)
        for output in engine.drain():
            assert output.request_id == request
            assert output.kind == "embedding", output.error
            found[output.index] = output.vectors
    return [found[index] for index in range(len(inputs))]


def floats(vector: bytes) -> list[float]:
    """A vector as numbers."""
    return array("f", vector).tolist()


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """The cosine of the angle between two vectors."""
    assert len(a) == len(b)
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
