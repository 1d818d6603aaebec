"""Answers straight from an engine, many at once."""

from __future__ import annotations

import select
from collections.abc import Iterable

from rustllm._rustllm import Engine


def answers(engine: Engine, requests: Iterable[int], choices: int = 1) -> dict[int, list[str]]:
    """The texts of requests that were submitted, each with so many choices; waits for all of them."""
    texts = {request: [""] * choices for request in requests}
    running = len(texts) * choices
    while running:
        ready, _, _ = select.select([engine.fileno()], [], [], 60)
        assert ready, f"nothing came in a minute; {running} answers are awaited"
        for output in engine.drain():
            assert output.error is None, output.error
            texts[output.request_id][output.index] += output.text
            running -= output.is_last
    return texts
