"""Writes a small decoder of each family to this folder: random weights, all norms and biases other than one
and zero, so that leaving anything out shows. `record.py` asks llama-server what they answer.

Needs the packages gguf and numpy; run it as `python make.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, HIDDEN, HEADS, KV_HEADS = 32, 48, 4, 2

#: Context that the LongRoPE and YaRN models were made for; llama-server rounds contexts up to this.
SHORT_CONTEXT = 256

WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"etaoinshrdlucmfwyp"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Model:
    """What sets a file apart."""

    architecture: str
    layers: int = 2
    head_dim: int = WIDTH // HEADS
    n_rot: int | None = None
    rope_base: float = 10_000.0
    context: int = 1024
    window: int | None = None
    biases: bool = False
    head_norms: bool = False
    output_norms: bool = False
    fused: bool = False
    long_rope: bool = False
    tied: bool = False
    #: Spread of the embeddings that also give the logits.
    spread: float = 0.3
    #: Keys under the architecture's name.
    keys: dict[str, str | int | float] = field(default_factory=dict)


MODELS = {
    "llama": Model("llama"),
    "llama-linear": Model("llama", keys={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "qwen2": Model("qwen2", biases=True, rope_base=1e6),
    "qwen2-yarn": Model(
        "qwen2",
        biases=True,
        keys={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": SHORT_CONTEXT,
        },
    ),
    "qwen3": Model("qwen3", head_norms=True, head_dim=16, rope_base=1e6, tied=True),
    # llama.cpp looks GELU up in a table of halves; with smaller logits the difference stays small too.
    "gemma3": Model(
        "gemma3",
        layers=7,
        head_norms=True,
        output_norms=True,
        head_dim=16,
        rope_base=1e6,
        window=24,
        tied=True,
        spread=0.05,
    ),
    "phi3": Model(
        "phi3",
        fused=True,
        n_rot=6,
        long_rope=True,
        window=24,
        keys={"rope.scaling.original_context_length": SHORT_CONTEXT, "rope.scaling.attn_factor": 1.2},
    ),
}


def write(path: Path, model: Model, seed: int) -> None:
    """One model."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, model.architecture)
    _write_settings(writer, model)

    def values(*shape: int, around: float = 0.0, spread: float = 0.2) -> Array:
        return (around + spread * random.standard_normal(shape)).astype(np.float32)

    def matrix(name: str, n: int, k: int, *, bias: bool = False) -> None:
        writer.add_tensor(f"{name}.weight", values(n, k, spread=1.5 / k**0.5))
        if bias:
            writer.add_tensor(f"{name}.bias", values(n, spread=0.5))

    def norm(name: str, n: int = WIDTH) -> None:
        writer.add_tensor(f"{name}.weight", values(n, around=1.0, spread=0.3))

    writer.add_tensor("token_embd.weight", values(len(WORDS), WIDTH, spread=model.spread))
    norm("output_norm")
    if not model.tied:
        matrix("output", len(WORDS), WIDTH)
    if model.long_rope:
        pairs = (model.n_rot or model.head_dim) // 2
        writer.add_tensor("rope_factors_short.weight", (1.0 + random.random(pairs)).astype(np.float32))
        writer.add_tensor("rope_factors_long.weight", (2.0 + 4 * random.random(pairs)).astype(np.float32))
    queries, keys = HEADS * model.head_dim, KV_HEADS * model.head_dim
    for layer in range(model.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm")
        if model.fused:
            matrix(block + "attn_qkv", queries + 2 * keys, WIDTH)
        else:
            for part, n in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
                matrix(block + part, n, WIDTH, bias=model.biases)
        if model.head_norms:
            norm(block + "attn_q_norm", model.head_dim)
            norm(block + "attn_k_norm", model.head_dim)
        matrix(block + "attn_output", WIDTH, queries)
        norm(block + "ffn_norm")
        if model.output_norms:
            norm(block + "post_attention_norm")
            norm(block + "post_ffw_norm")
        if model.fused:
            matrix(block + "ffn_up", 2 * HIDDEN, WIDTH)
        else:
            matrix(block + "ffn_gate", HIDDEN, WIDTH)
            matrix(block + "ffn_up", HIDDEN, WIDTH)
        matrix(block + "ffn_down", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_settings(writer: gguf.GGUFWriter, model: Model) -> None:
    # llama.cpp expects certain tokens of a model whose name has Phi in it.
    writer.add_name("random")
    writer.add_context_length(model.context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(model.layers)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(model.rope_base)
    writer.add_rope_dimension_count(model.n_rot or model.head_dim)
    if model.window:
        writer.add_sliding_window(model.window)
    for key, value in model.keys.items():
        full = f"{model.architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)
        else:
            writer.add_float32(full, value)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([-float(index) for index in range(len(WORDS))])
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *[gguf.TokenType.BYTE] * 256]
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (len(WORDS) - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


if __name__ == "__main__":
    here = Path(__file__).parent
    for number, (stem, described) in enumerate(MODELS.items()):
        write(here / f"{stem}.gguf", described, seed=number)
