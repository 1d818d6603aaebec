"""The models as `/models` and Ollama's `/api/tags` and `/api/ps` list them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from rustllm._rustllm import ModelError, read_gguf
from rustllm.model_file import file_type, short_count
from rustllm.server.router_mode.downloads import Downloads
from rustllm.server.router_mode.models import Models, Served

_MODALITIES = {"input_modalities": ["text"], "output_modalities": ["text"]}


def cards(models: Models, downloads: Downloads) -> list[dict[str, Any]]:
    """llama-server's list."""
    found = [_card(served) for served in models]
    for name, progress in downloads.listed():
        status = {"value": "downloading", "args": [], "progress": progress}
        found.append(_base(name, status, "cache", created=0, can_remove=True))
    return found


def _card(served: Served) -> dict[str, Any]:
    entry, run = served.entry, served.run
    status: dict[str, Any] = {
        "value": served.status,
        "args": ["rustllm-serve", *entry.arguments] if run is None else run.arguments,
    }
    if entry.preset is not None:
        status["preset"] = "\n".join([f"[{entry.name}]", *(option.removeprefix("--") for option in entry.preset), ""])
    if served.exit_code:
        status |= {"failed": True, "exit_code": served.exit_code, "reason": served.reason}
    card = _base(entry.name, status, entry.source, served.created, can_remove=entry.source == "cache")
    card |= {"aliases": sorted(entry.aliases), "tags": sorted(entry.tags)}
    if entry.path is not None:
        card["path"] = str(entry.path)
    if run is not None and run.info is not None:
        card["meta"] = run.info["meta"]
    return card


def _base(name: str, status: dict[str, Any], source: str, created: int, can_remove: bool) -> dict[str, Any]:
    return {
        "id": name,
        "aliases": [],
        "tags": [],
        "object": "model",
        "owned_by": "rustllm",
        "created": created,
        "status": status,
        "architecture": _MODALITIES,
        "source": source,
        "can_remove": can_remove,
    }


def tags(models: Models) -> list[dict[str, Any]]:
    """Ollama's list. Reads the heads of the files that it has not seen yet."""
    return [_tag(served) for served in models]


def running(models: Models) -> list[dict[str, Any]]:
    """Ollama's list of the models that are loaded."""
    found = []
    for served in models:
        if served.run is not None and served.run.info is not None:
            context = served.run.info["meta"]["n_ctx"]
            more = {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0, "context_length": context}
            found.append({**_tag(served), **more})
    return found


def _tag(served: Served) -> dict[str, Any]:
    path = served.entry.path
    size, changed = 0, float(served.created)
    if path is not None and path.is_file():
        size, changed = path.stat().st_size, path.stat().st_mtime
    return {
        "name": served.entry.name,
        "model": served.entry.name,
        "modified_at": datetime.fromtimestamp(changed, timezone.utc).isoformat().replace("+00:00", "Z"),
        "size": size,
        "digest": hashlib.sha256(f"{path}\0{size}\0{changed}".encode()).hexdigest(),
        "details": _details(path, changed),
    }


@lru_cache(maxsize=1024)
def _details(path: Path | None, changed: float) -> dict[str, Any]:
    """What a file says of its model; of a broken one nothing. `changed` tells states of the file apart."""
    details = {"parent_model": "", "format": "gguf", "family": "", "families": [], "parameter_size": ""}
    try:
        if path is None:
            raise FileNotFoundError
        found = read_gguf(path)
        family = str(found["metadata"]["general.architecture"])
        quantization = file_type(found["metadata"], found["types"]).name
    except (ModelError, OSError, KeyError):
        return {**details, "quantization_level": ""}
    size = short_count(found["n_params"])
    return {
        **details,
        "family": family,
        "families": [family],
        "parameter_size": size,
        "quantization_level": quantization,
    }
