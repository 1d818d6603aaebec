"""What Ollama's clients ask about models."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rustllm.model_file import file_type, short_count
from rustllm.server.state import Model, ServerState

#: The version of Ollama whose API this is: editors ask for it and refuse older ones.
API_VERSION = "0.13.0"

#: What a model that is never unloaded has for the time when it will be.
_NEVER = "9999-12-31T23:59:59Z"


def entry(model: Model) -> dict[str, Any]:
    """The model that is served, as one of a list."""
    changed = _changed(model)
    # The bytes of the file are not read for a name: its place, size and time say which it is.
    identity = f"{model.path}\0{model.native.info['size']}\0{changed}"
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": changed,
        "size": model.native.info["size"],
        "digest": hashlib.sha256(identity.encode()).hexdigest(),
        "details": _details(model),
    }


def running(model: Model) -> dict[str, Any]:
    """The model that is served, as one that runs."""
    return {**entry(model), "expires_at": _NEVER, "size_vram": 0, "context_length": model.native.n_ctx}


def show(state: ServerState, model: Model) -> dict[str, Any]:
    """All that is known of the model."""
    generates = model.native.info["generates"]
    capabilities = ["completion", "tools"] if generates else ["embedding"]
    if generates and model.template.tool_format.answer.thought is not None:
        capabilities.append("thinking")
    defaults = state.settings.sampling_defaults
    return {
        "modelfile": f"FROM {model.path}",
        "parameters": "\n".join(
            f"{name} {defaults[name]}" for name in ("temperature", "top_k", "top_p", "min_p") if name in defaults
        ),
        "template": model.template.source,
        "details": _details(model),
        "model_info": model.native.metadata,
        "capabilities": capabilities,
        "modified_at": _changed(model),
    }


def _changed(model: Model) -> str:
    path = Path(model.path)
    seconds = path.stat().st_mtime if path.exists() else model.created
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def _details(model: Model) -> dict[str, Any]:
    info = model.native.info
    return {
        "parent_model": "",
        "format": "gguf",
        "family": info["architecture"],
        "families": [info["architecture"]],
        "parameter_size": short_count(info["n_params"]),
        "quantization_level": file_type(model.native.metadata, model.native.info["types"]).name,
    }
