"""LoRA adapters for the embedded model, as GGUF files."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

_ALIGNMENT = 32
_F32 = 0
#: GGUF's numbers of the types of values.
_FLOAT, _STRING = 6, 8

WIDTH, N_FF, N_LAYER, N_KV = 64, 172, 5, 32
#: Matrices of a layer of the embedded model: columns and rows.
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH, N_KV),
    "attn_v": (WIDTH, N_KV),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (WIDTH, N_FF),
    "ffn_up": (WIDTH, N_FF),
    "ffn_down": (N_FF, WIDTH),
}


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<If", _FLOAT, value)


def gguf(keys: Mapping[str, str | float], tensors: Mapping[str, tuple[tuple[int, int], Sequence[float]]]) -> bytes:
    """A file of f32 tensors, each with its columns, rows and values."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    head += b"".join(_text(key) + _value(value) for key, value in keys.items())
    data = b""
    for name, (dims, values) in tensors.items():
        head += _text(name) + struct.pack("<IQQIQ", 2, *dims, _F32, len(data))
        data += struct.pack(f"<{len(values)}f", *values)
        data += bytes(-len(data) % _ALIGNMENT)
    return head + bytes(-len(head) % _ALIGNMENT) + data


def write_adapter(
    path: Path,
    *,
    seed: int,
    rank: int = 4,
    alpha: float = 8.0,
    size: float = 0.1,
    parts: Sequence[str] = tuple(SHAPES),
    **keys: str,
) -> Path:
    """An adapter of random numbers up to `size` for `parts` of each layer."""
    numbers = random.Random(seed)
    tensors = {}
    for layer in range(N_LAYER):
        for part in parts:
            columns, rows = SHAPES[part]
            for suffix, dims in (("lora_a", (columns, rank)), ("lora_b", (rank, rows))):
                values = [numbers.uniform(-size, size) for _ in range(dims[0] * dims[1])]
                tensors[f"blk.{layer}.{part}.weight.{suffix}"] = (dims, values)
    own = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    path.write_bytes(gguf({**own, "adapter.lora.alpha": alpha, **keys}, tensors))
    return path
