"""Saving, restoring and erasing what the cache holds of a slot."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from rustllm.server.errors import ApiError
from rustllm.server.state import Model, ServerState

T = TypeVar("T")

ACTIONS = ("save", "restore", "erase")

#: Bytes of a file's name, which is what file systems take.
MAX_NAME_BYTES = 255

#: Characters that separate paths or mean something to some file system.
_FORBIDDEN = frozenset('/\\:*?"<>|')


def check_name(name: str) -> str:
    """The name, unless it could be anything but that of a file in one directory."""
    reason = _fault(name)
    if reason is None:
        return name
    message = f"filename: {name!r:.60} is not allowed: {reason}"
    raise ApiError(400, message, param="filename")


def _fault(name: str) -> str | None:
    if not name:
        return "it is empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_NAME_BYTES:
        return f"it has {size} bytes; allowed: up to {MAX_NAME_BYTES}"
    if ".." in name or name.startswith(".") or name.endswith((".", " ")) or name.startswith(" "):
        return "it begins with a dot or a blank, ends with one or has two dots"
    if bad := next((char for char in name if char in _FORBIDDEN or unicodedata.category(char) in ("Cc", "Cf")), None):
        return f"it has the character {bad!r}"
    return None


def check_slot(model: Model, text: str) -> int:
    """The slot that a path names."""
    slot = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if 0 <= slot < model.native.n_slots:
        return slot
    message = f"id_slot: {text!r:.60} is not a slot; allowed: 0 to {model.native.n_slots - 1}"
    raise ApiError(400, message, param="id_slot")


def check_action(action: str | None) -> str:
    """One of the actions."""
    if action in ACTIONS:
        return action
    message = f"action: {action!r:.60} is not an action; allowed: {', '.join(ACTIONS)}"
    raise ApiError(400, message, param="action")


async def save(state: ServerState, model: Model, slot: int, name: str) -> dict[str, Any]:
    """Writes the slot to a file."""
    path = _path(state, name)
    (n_tokens, n_bytes), ms = await _timed(state, lambda: model.native.save_slot(slot, path))
    timings = {"save_ms": ms}
    return {"id_slot": slot, "filename": name, "n_saved": n_tokens, "n_written": n_bytes, "timings": timings}


async def restore(state: ServerState, model: Model, slot: int, name: str) -> dict[str, Any]:
    """Reads the slot from a file."""
    path = _path(state, name)
    if not path.is_file():
        raise ApiError(400, f"filename: there is no saved slot {name!r}", param="filename")
    salt = state.salted()
    (n_tokens, n_bytes), ms = await _timed(state, lambda: model.native.restore_slot(slot, path, salt))
    timings = {"restore_ms": ms}
    return {"id_slot": slot, "filename": name, "n_restored": n_tokens, "n_read": n_bytes, "timings": timings}


async def erase(state: ServerState, model: Model, slot: int) -> dict[str, Any]:
    """Drops the slot's cached prompt."""
    n_tokens, _ = await _timed(state, lambda: model.native.erase_slot(slot))
    return {"id_slot": slot, "n_erased": n_tokens}


def _path(state: ServerState, name: str) -> Path:
    directory = state.settings.slot_save_path
    assert directory is not None, "the route has looked"
    return directory / check_name(name)


async def _timed(state: ServerState, work: Callable[[], T]) -> tuple[T, float]:
    """Runs `work`, which may wait for a slot and for the disk, beside everything else."""
    started = perf_counter()
    try:
        result = await asyncio.get_running_loop().run_in_executor(state.files, work)
    except OSError as error:
        # The message has the path, which is the operator's.
        raise ApiError(500, f"the slot cannot be saved: {str(error).rsplit(': ', 1)[-1]}") from None
    return result, round(1e3 * (perf_counter() - started), 3)
