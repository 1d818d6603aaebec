"""Turns a BERT checkpoint (a folder with model.safetensors, config.json and vocab.txt, as MiniLM and BGE
are published) into a GGUF file that llama.cpp and rustllm read.

Usage: convert_minilm.py FOLDER OUT.gguf [f32|f16]
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np

#: The checkpoint's names of tensors outside the layers, and GGUF's.
OUTER = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}

#: The same within a layer.
INNER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}

#: Tensors that stay f32 in a file of halves: they are small, and added rather than multiplied with.
PLAIN = ("position_embd.weight", "token_types.weight")

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

POOLING = {
    "pooling_mode_mean_tokens": gguf.PoolingType.MEAN,
    "pooling_mode_cls_token": gguf.PoolingType.CLS,
}


def read_safetensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The f32 tensors of a file by name; the format is a JSON directory and the raw values."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    directory = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in directory.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[start:end], "<f4").reshape(entry["shape"])
    return tensors


def gguf_name(name: str) -> str | None:
    """GGUF's name of a tensor; None for those that inference does not need."""
    if name in OUTER:
        return OUTER[name]
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    parts = stem.split(".", 3)
    if parts[:2] == ["encoder", "layer"] and parts[3] in INNER:
        return f"blk.{parts[2]}.{INNER[parts[3]]}.{kind}"
    return None


def add_settings(writer: gguf.GGUFWriter, config: dict[str, Any], folder: Path) -> None:
    """Sizes, the pooling, and what makes an encoder of it."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    (kind,) = (kind for key, kind in POOLING.items() if pooling.get(key))
    writer.add_pooling_type(kind)


def add_vocabulary(writer: gguf.GGUFWriter, path: Path) -> None:
    """WordPiece in GGUF's spelling: pieces that start a word begin with U+2581, the others lose their ##."""
    words = path.read_text(encoding="utf-8").splitlines()
    texts, kinds = [], []
    for word in words:
        special = word in SPECIAL
        texts.append(word if special else word.removeprefix("##") if word.startswith("##") else f"\u2581{word}")
        kinds.append(gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    # [CLS] text [SEP], and [CLS] query [SEP] document [SEP] for pairs.
    writer.add_bos_token_id(words.index("[CLS]"))
    writer.add_eos_token_id(words.index("[SEP]"))
    writer.add_sep_token_id(words.index("[SEP]"))
    writer.add_unk_token_id(words.index("[UNK]"))
    writer.add_pad_token_id(words.index("[PAD]"))
    writer.add_mask_token_id(words.index("[MASK]"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(False)


def convert(folder: Path, target: Path, kind: str = "f16") -> None:
    """Writes `target`, whole or not at all."""
    config = json.loads((folder / "config.json").read_text())
    partial = target.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, "bert")
    writer.add_name(target.stem)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.ALL_F32)
    add_settings(writer, config, folder)
    add_vocabulary(writer, folder / "vocab.txt")
    for source, values in read_safetensors(folder / "model.safetensors").items():
        name = gguf_name(source)
        if name is None:
            continue
        half = kind == "f16" and values.ndim == 2 and name not in PLAIN
        writer.add_tensor(name, values.astype(np.float16) if half else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["f16"], ["f32"]):
        sys.exit(__doc__)
    convert(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
