"""What docstrings say about the Python API: their examples, and that all of it has them."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module

import pytest

import rustllm
from rustllm import LLM, AsyncLLM

MODULES = ("async_llm", "display", "llm", "results", "sampling_params", "stream")
NAMES = {name: getattr(rustllm, name) for name in rustllm.__all__}


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str) -> None:
    found = doctest.testmod(import_module(f"rustllm.llm.{module}"), extraglobs=NAMES)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_all_that_is_public_says_what_it_does(kind: type) -> None:
    for name, member in inspect.getmembers(kind):
        if not name.startswith("_") and name not in ("path",):
            assert inspect.getdoc(member), name
    for name in rustllm.__all__:
        assert name.startswith("__") or inspect.getdoc(getattr(rustllm, name)), name


@pytest.mark.parametrize(
    "name", ["generate", "chat", "embed", "rerank", "score", "tokenize", "detokenize", "info", "close"]
)
def test_methods_have_an_example_and_their_errors(name: str) -> None:
    text = inspect.getdoc(getattr(LLM, name)) or ""
    assert ">>>" in text
    assert "raise" in text.lower() or name in ("info", "detokenize")
