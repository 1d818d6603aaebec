"""Asks llama-server for greedy answers with LoRA adapters and writes them to recorded.json, so that tests need
no peer.

Usage: python -m tests.data.lora.record LLAMA-SERVER
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.adapter_file import write_adapter
from tests.support.model_file import STORY
from tests.support.peer import Peer, ask

#: The settings of each adapter.
ADAPTERS: list[dict[str, Any]] = [
    {"seed": 1, "rank": 4, "alpha": 8.0},
    {"seed": 2, "rank": 9, "alpha": 3.0, "parts": ("attn_q", "attn_v", "ffn_down")},
]

PROMPTS = ["Once upon a time", "The little girl said", "One day a big dog and a small cat went to"]

SCALES = [
    [{"id": id_, "scale": scale} for id_, scale in enumerate(scales)]
    for scales in ((0.0,), (1.0,), (0.5,), (-0.5,), (0.0, 1.0), (1.0, 1.0), (0.25, 2.0))
]

REQUEST = {"n_predict": 48, "temperature": 0, "seed": 1}


def write(directory: Path) -> list[Path]:
    """The adapters as files."""
    return [write_adapter(directory / f"{index}.gguf", **kind) for index, kind in enumerate(ADAPTERS)]


def main(program: str) -> None:
    """Records the answers."""
    with tempfile.TemporaryDirectory() as directory:
        files = ",".join(str(path) for path in write(Path(directory)))
        with Peer(program, STORY, "-c", "2048", "-np", "1", "--lora", files):
            found = {
                f"{prompt} {json.dumps(mix)}": ask(
                    "/completion", {**REQUEST, "prompt": prompt, "lora": mix, "cache_prompt": False}
                )["content"]
                for prompt in PROMPTS
                for mix in SCALES
            }
    lines = [f"{json.dumps(key)}: {json.dumps(text, ensure_ascii=False)}" for key, text in found.items()]
    Path(__file__).with_name("recorded.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
