"""Prints what pyproject.toml asks for, one requirement a line: to develop, or the groups that are named."""

from __future__ import annotations

import re
import sys
from pathlib import Path

text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
# Python 3.10 has no tomllib; the lists of requirements are plain enough to be read by hand.
for name in sys.argv[1:] or ("requires", "dependencies", "dev"):
    block = re.search(rf"^{name} = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)
    assert block is not None, name
    for requirement in re.findall(r'"([^"]+)"', block.group(1)):
        print(requirement)
