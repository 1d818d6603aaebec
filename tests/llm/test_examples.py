"""The programs in `examples/`: they run, and type checkers have nothing to say about them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.embeddings import MINILM

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: What each prints somewhere, with the embedded model.
PRINTS = {
    "agent": "temperature('Cairo') = 29",
    "async_chat": "> Name an animal.",
    "batch": "perplexity",
    "chat": "> And at sunset?",
    "retrieval": "  ",
    "structured": " stars: Lovely place",
}


def test_there_are_six() -> None:
    assert {path.stem for path in EXAMPLES} == set(PRINTS)


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_it_runs(name: str) -> None:
    assert PRINTS[name] in run(name)


def test_retrieval_finds_the_river() -> None:
    assert (
        run("retrieval", str(MINILM)).splitlines()[0].endswith("The Nile flows through Egypt into the Mediterranean.")
    )


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pyright_is_content(tmp_path: Path) -> None:
    folders = {"include": [str(ROOT / "examples")], "extraPaths": [str(ROOT / "python")]}
    settings = {**folders, "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "-p",
        str(tmp_path),
        "--pythonpath",
        sys.executable,
        "--outputjson",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    found = json.loads(done.stdout)
    shown = [
        f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}" for one in found["generalDiagnostics"]
    ]
    assert not shown, "\n".join(shown)
    assert found["summary"]["filesAnalyzed"] == len(EXAMPLES)
