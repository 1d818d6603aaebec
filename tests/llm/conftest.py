"""One embedded model for all tests that do not close it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rustllm import LLM
from tests.support.embeddings import MINILM


@pytest.fixture(scope="session")
def llm() -> Iterator[LLM]:
    with LLM(n_parallel=8) as model:
        yield model


@pytest.fixture(scope="session")
def minilm() -> Iterator[LLM]:
    with LLM(MINILM) as model:
        yield model
