"""Perplexity of a text, scored as llama-perplexity scores it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rustllm._rustllm import Engine


@dataclass(frozen=True)
class Perplexity:
    """e to the mean negative log probability, with its standard error."""

    value: float
    error: float
    n_chunks: int
    n_scored: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def perplexity(model: str, text: str, *, n_ctx: int = 512, show: bool = False, **settings: Any) -> Perplexity:
    """Scores the second half of each chunk of `n_ctx` tokens; `settings` are those of `Engine.load`.

    The text is tokenized once and cut into independent chunks; what is left is dropped. The first
    token of a chunk is replaced by BOS where the model adds one. Raises ValueError where the text
    is too short or `n_ctx` too small.
    """
    if n_ctx < 4:
        raise ValueError(f"ctx-size: {n_ctx} is out of range; allowed: 4 and above")
    engine = Engine.load(model, n_ctx=n_ctx, n_parallel=1, **settings)
    try:
        tokenizer = engine.tokenizer
        tokens = tokenizer.encode(text)
        chunks = [tokens[at : at + n_ctx] for at in range(0, len(tokens) - n_ctx + 1, n_ctx)]
        if not chunks:
            raise ValueError(f"the text has {len(tokens)} tokens; at least {n_ctx} are needed")
        scores: list[float] = []
        for chunk in _progress(chunks, show):
            if tokenizer.adds_bos and tokenizer.bos is not None:
                chunk[0] = tokenizer.bos
            scores += engine.score(chunk, n_ctx // 2 + 1)
    finally:
        engine.shutdown()
    mean = -sum(scores) / len(scores)
    variance = sum((score + mean) ** 2 for score in scores) / max(1, len(scores) - 1)
    value = math.exp(mean)
    return Perplexity(value, value * math.sqrt(variance / len(scores)), len(chunks), len(scores))


def _progress(chunks: list[list[int]], show: bool) -> Any:
    if not show:
        return chunks
    from rich.console import Console
    from rich.progress import track

    return track(chunks, description="scoring", console=Console(stderr=True), transient=True)
