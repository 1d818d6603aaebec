"""Asks llama-server for greedy answers with LoRA adapters and writes them to recorded.json, so that tests need
no peer.

Usage: python -m tests.data.lora.record LLAMA-SERVER
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.adapter_file import write_adapter
from tests.support.model_file import STORY

PORT = 9392

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


def ask(path: str, body: Any) -> Any:
    """The answer to a request."""
    url = f"http://127.0.0.1:{PORT}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
        return json.load(answer)


def main(program: str) -> None:
    """Records the answers."""
    with tempfile.TemporaryDirectory() as directory:
        files = ",".join(str(path) for path in write(Path(directory)))
        command = [program, "-m", str(STORY), "--port", str(PORT), "-fa", "off", "-ctk", "f32", "-ctv", "f32"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        peer = subprocess.Popen([*command, "-c", "2048", "-np", "1", "--lora", files], **quiet)
        try:
            for _ in range(200):
                try:
                    ask("/tokenize", {"content": "x"})
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            found = {
                f"{prompt} {json.dumps(mix)}": ask(
                    "/completion", {**REQUEST, "prompt": prompt, "lora": mix, "cache_prompt": False}
                )["content"]
                for prompt in PROMPTS
                for mix in SCALES
            }
        finally:
            peer.terminate()
            peer.wait()
    lines = [f"{json.dumps(key)}: {json.dumps(text, ensure_ascii=False)}" for key, text in found.items()]
    Path(__file__).with_name("recorded.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
