"""The Python code of a Markdown page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(path: Path) -> list[tuple[int, str]]:
    """The blocks that are marked as Python, each with the line that it begins in."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in _BLOCK.finditer(text)]


def run_page(path: Path, **names: Any) -> dict[str, Any]:
    """Runs the blocks of a page in their order, as one program that begins with `names`; returns its names. What
    they raise shows the page's own lines."""
    space: dict[str, Any] = {"__name__": "__page__", **names}
    blocks = python_blocks(path)
    assert blocks, f"{path}: no block is marked as Python"
    for line, code in blocks:
        exec(compile("\n" * (line - 1) + code, str(path), "exec", dont_inherit=True), space)
    return space
