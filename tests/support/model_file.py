"""Variants of the embedded model: the same tensors with other metadata."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.support.server import ROOT

STORY = ROOT / "python/rustllm/models/stories260K.gguf"

#: GGUF's default; data stays where it may be if a multiple of it is put before.
_ALIGNMENT = 32
#: magic, version, number of tensors, number of keys
_HEADER = struct.Struct("<4sIQQ")
_U32, _STRING = 4, 8


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _entry(key: str, value: int | str) -> bytes:
    if isinstance(value, int):
        return _text(key) + struct.pack("<II", _U32, value)
    return _text(key) + struct.pack("<I", _STRING) + _text(value)


def with_keys(keys: Mapping[str, int | str]) -> bytes:
    """The embedded model with further keys, before its own."""
    data = STORY.read_bytes()
    magic, version, n_tensors, n_keys = _HEADER.unpack_from(data)
    added = b"".join(_entry(key, value) for key, value in keys.items())
    # One more key fills up to the alignment, so that nothing behind it needs to know.
    missing = -(len(added) + len(_entry("test.filler", ""))) % _ALIGNMENT
    added += _entry("test.filler", "x" * missing)
    header = _HEADER.pack(magic, version, n_tensors, n_keys + len(keys) + 1)
    return header + added + data[_HEADER.size :]


#: Ids of the story model's vocabulary that stand in for the tokens of a code model.
FIM = {"fim_pre": 500, "fim_suf": 501, "fim_mid": 502, "fim_rep": 503, "fim_sep": 504}


def fim_model(directory: Path, *without: str) -> Path:
    """A file in `directory` whose model fills in the middle, without some of the tokens."""
    keys = {f"tokenizer.ggml.{name}_token_id": id_ for name, id_ in FIM.items() if name not in without}
    path = directory / f"fim-{'-'.join(without)}.gguf"
    path.write_bytes(with_keys(keys))
    return path
