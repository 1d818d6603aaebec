"""The files that are measured, made once from the test model and from random weights."""

from __future__ import annotations

from pathlib import Path

from benches import random_model
from benches.cells import GOALS
from benches.peer import Peer

ROOT = Path(__file__).resolve().parent.parent
RUSTLLM = ROOT / ".venv/bin/rustllm"
FOLDER = ROOT / ".models/bench"
SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"


def check(model: str, kind: str) -> None:
    """Raises ValueError where the table has no such row."""
    if model not in GOALS:
        raise ValueError(f"models: {model!r} is not in the table; allowed: {', '.join(GOALS)}")
    if kind not in GOALS[model]:
        raise ValueError(f"types: {model} has no {kind!r}; allowed: {', '.join(GOALS[model])}")


def make(model: str, kind: str, peer: Peer) -> Path:
    """The file of a row, made where it is not there yet."""
    check(model, kind)
    path = FOLDER / f"{model}-{kind}.gguf"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"making {path.relative_to(ROOT)}", flush=True)
    peer.quantize(SMOLLM2 if model == "smollm2" else _random_f16(), path, kind)
    return path


def _random_f16() -> Path:
    path = FOLDER / "random1b-F16.gguf"
    if not path.exists():
        random_model.make(path, random_model.Shape())
    return path
