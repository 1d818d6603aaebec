"""A running llama-server, whose answers are recorded so that tests need none."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PORT = 9391


def ask(path: str, body: Any) -> Any:
    """The answer to a request."""
    url = f"http://127.0.0.1:{PORT}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
        return json.load(answer)


class Peer:
    """The server, with an f32 cache and without flash attention, which is as exact as it can be."""

    def __init__(self, program: str, model: Path, *flags: str) -> None:
        command = [program, "-m", str(model), "--port", str(PORT), "-fa", "off", "-ctk", "f32", "-ctv", "f32", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Peer:
        for _ in range(200):
            try:
                ask("/tokenize", {"content": "x"})
                return self
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError("the peer does not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
