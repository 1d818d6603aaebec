"""A router with a few models, all of them the story model under other names."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.model_file import STORY
from tests.support.server import Server


def models_directory(root: Path, *names: str) -> Path:
    """A directory with the models of these names."""
    directory = root / "models"
    directory.mkdir()
    for name in names:
        shutil.copy(STORY, directory / f"{name}.gguf")
    return directory


def children(parent: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def process_of(server: Server, model: str) -> int:
    """The process of a model."""
    for pid in children(server.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--alias" in words and words[words.index(b"--alias") + 1] == model.encode():
            return pid
    raise AssertionError(f"{model} has no process")


def eventually(check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """The first result that is true."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return result


def status(server: Server, model: str) -> dict[str, Any]:
    """What a model is doing; nothing for one that is not there."""
    for card in server.get("/models").body["data"]:
        if card["id"] == model:
            return dict(card["status"])
    return {}


def wait_for(server: Server, model: str, value: str) -> None:
    """Waits until a model has a status."""
    eventually(lambda: status(server, model).get("value") == value, f"{model} is not {value}")


def unload(server: Server, *models: str) -> None:
    """Unloads those of the models that are loaded."""
    for model in models:
        if status(server, model)["value"] != "unloaded":
            server.post("/models/unload", {"model": model})
            wait_for(server, model, "unloaded")


@contextmanager
def endless(server: Server, model: str, headers: dict[str, str] | None = None) -> Iterator[Iterator[str]]:
    """The lines of an answer that goes on until it is left."""
    body = {"model": model, "prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        client.stream("POST", "/completion", json=body, headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        next(lines)
        yield lines


@contextmanager
def listening(server: Server) -> Iterator[list[dict[str, Any]]]:
    """The events of `/models/sse`, which go on to be collected."""
    events: list[dict[str, Any]] = []
    client = httpx.Client(base_url=server.url, timeout=60)
    with client, client.stream("GET", "/models/sse") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()

        def collect() -> None:
            try:
                for line in lines:
                    if line.startswith("data: "):
                        events.append(json.loads(line.removeprefix("data: ")))
            except (httpx.TransportError, httpx.StreamError, OSError):
                pass

        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        yield events


def environment(root: Path, endpoint: str = "http://127.0.0.1:9") -> dict[str, str]:
    """A hub's cache of its own, and a hub."""
    return {"HF_HOME": str(root / "hub"), "HF_ENDPOINT": endpoint, "NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1"}


def kill(pid: int) -> None:
    """Ends a process without its knowing."""
    os.kill(pid, 9)
