"""Writes the small BERT models of this folder: random weights, sixty words.

`rank.gguf` has one matrix for queries, keys and values, halves, and a head that gives one score; `cls.gguf`
has three matrices, q8_0, and gives the vector of the first token. `record.py` asks llama-server what they
and MiniLM answer.

Needs the packages gguf and numpy; run it as `python make.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, HIDDEN, HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 320

WORDS = """
[PAD] [UNK] [CLS] [SEP] [MASK] the a an of to and in is was it that for on with as at by from what who
where when how why capital france paris london england river city tree cat dog house book read write red blue green
sun moon star water fire ##s ##ing ##ed ##er ##ly un re . , ? ! ' -
""".split()  # noqa: SIM905 (a list of words reads better than a column of literals)

SPECIAL = 5

Array = np.ndarray[Any, Any]


def write(path: Path, *, fused: bool, rank: bool, seed: int) -> None:
    """One model."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(path.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if rank else gguf.PoolingType.CLS)
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    pieces = [word.removeprefix("##") if word.startswith("##") else f"\u2581{word}" for word in WORDS[SPECIAL:]]
    writer.add_token_list(WORDS[:SPECIAL] + pieces)
    writer.add_token_types([gguf.TokenType.CONTROL] * SPECIAL + [gguf.TokenType.NORMAL] * len(pieces))
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(False)

    def values(*shape: int, around: float = 0.0, spread: float = 0.1) -> Array:
        return (around + spread * random.standard_normal(shape)).astype(np.float32)

    def matrix(name: str, n: int, k: int) -> None:
        weights = values(n, k, spread=1.5 / k**0.5)
        if rank:
            writer.add_tensor(f"{name}.weight", weights.astype(np.float16))
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
        writer.add_tensor(f"{name}.bias", values(n))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", values(WIDTH, around=1.0))
        writer.add_tensor(f"{name}.bias", values(WIDTH))

    writer.add_tensor("token_embd.weight", values(len(WORDS), WIDTH, spread=1.0).astype(np.float16))
    writer.add_tensor("position_embd.weight", values(CONTEXT, WIDTH, spread=0.5))
    writer.add_tensor("token_types.weight", values(2, WIDTH, spread=0.5))
    norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        if fused:
            matrix(block + "attn_qkv", 3 * WIDTH, WIDTH)
        else:
            for part in ("attn_q", "attn_k", "attn_v"):
                matrix(block + part, WIDTH, WIDTH)
        matrix(block + "attn_output", WIDTH, WIDTH)
        norm(block + "attn_output_norm")
        matrix(block + "ffn_up", HIDDEN, WIDTH)
        matrix(block + "ffn_down", WIDTH, HIDDEN)
        norm(block + "layer_output_norm")
    if rank:
        matrix("cls", WIDTH, WIDTH)
        matrix("cls.output", 1, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    here = Path(__file__).parent
    write(here / "rank.gguf", fused=True, rank=True, seed=1)
    write(here / "cls.gguf", fused=False, rank=False, seed=2)
