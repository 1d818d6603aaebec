"""What is written about the Python API: the examples of docstrings, and of the page."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import rustllm
from rustllm import LLM, AsyncLLM
from tests.support.markdown import python_blocks, run_page

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("async_llm", "display", "llm", "results", "sampling_params", "stream")
NAMES = {name: getattr(rustllm, name) for name in rustllm.__all__}


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str) -> None:
    found = doctest.testmod(import_module(f"rustllm.{module}"), extraglobs=NAMES)
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


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / "docs/python.md")


def test_blocks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n```python\na = 1\n```\n```\nno code\n```\n\n```python\nassert a == 2, a\n```\n")
    assert python_blocks(page) == [(3, "a = 1\n"), (10, "assert a == 2, a\n")]
    with pytest.raises(AssertionError) as failed:
        run_page(page)
    assert failed.traceback[-1].lineno == 9
