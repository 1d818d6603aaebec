"""Makes a llama of 1.1B shape with random weights, as F16: to measure speed on a model larger than
the caches, whose widths divide by 256 so that K-quants are really used.

Needs `gguf` and `numpy`; `--layers` and the other sizes make smaller ones for tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Sizes of a llama; the defaults are TinyLlama's."""

    width: int = 2048
    feed_forward: int = 5632
    layers: int = 22
    heads: int = 32
    kv_heads: int = 4
    vocabulary: int = 32_000
    context: int = 16_384

    def matrices(self) -> Iterator[tuple[str, int, int]]:
        """Name, rows and columns of every matrix."""
        kv = self.width // self.heads * self.kv_heads
        yield "token_embd", self.vocabulary, self.width
        yield "output", self.vocabulary, self.width
        for layer in range(self.layers):
            for name, rows, columns in (
                ("attn_q", self.width, self.width),
                ("attn_k", kv, self.width),
                ("attn_v", kv, self.width),
                ("attn_output", self.width, self.width),
                ("ffn_gate", self.feed_forward, self.width),
                ("ffn_up", self.feed_forward, self.width),
                ("ffn_down", self.width, self.feed_forward),
            ):
                yield f"blk.{layer}.{name}", rows, columns

    def norms(self) -> Iterator[str]:
        """Name of every normalization."""
        yield "output_norm"
        for layer in range(self.layers):
            yield f"blk.{layer}.attn_norm"
            yield f"blk.{layer}.ffn_norm"


def vocabulary(n: int) -> tuple[list[bytes], list[float], list[int]]:
    """Texts, scores and kinds of `n` SPM tokens: the special ones, all bytes, then short made-up words."""
    texts = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    kinds = [2, 3, 3, *([6] * 256)]
    letters = "▁etaoinshrdlucmfwypvbgkjqxz.,ETAOINSHRDLUCMFWYPVBGKJQXZ0123456789'-!?"
    words = [*letters, *(a + b for a in letters for b in letters)]
    words += [a + b + c for a in letters[:34] for b in letters[1:28] for c in letters[1:40]]
    texts += [word.encode() for word in words[: n - len(texts)]]
    if len(texts) < n:
        raise ValueError(f"vocabulary: {n} is out of range; allowed: up to {len(texts)}")
    kinds += [1] * (n - len(kinds))
    return texts, [-float(index) for index in range(n)], kinds


def make(path: Path, shape: Shape, seed: int = 1) -> None:
    """Writes the model, whole or not at all."""
    import gguf
    import numpy as np

    partial = path.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, "llama")
    _write_settings(writer, shape)
    random = np.random.default_rng(seed)

    def weights(rows: int, columns: int) -> Any:
        # This scale keeps a layer's output about as large as its input, so that nothing overflows.
        values = random.standard_normal((rows, columns), dtype=np.float32)
        values *= columns**-0.5
        return values.astype(np.float16)

    for name in shape.norms():
        writer.add_tensor(f"{name}.weight", np.ones(shape.width, dtype=np.float32))
    for name, rows, columns in shape.matrices():
        writer.add_tensor(f"{name}.weight", weights(rows, columns))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def _write_settings(writer: Any, shape: Shape) -> None:
    import gguf

    texts, scores, kinds = vocabulary(shape.vocabulary)
    writer.add_name("random")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="the GGUF file to write")
    parser.add_argument("--seed", type=int, default=1)
    defaults = Shape()
    for name in Shape.__dataclass_fields__:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    options = vars(parser.parse_args())
    path, seed = options.pop("path"), options.pop("seed")
    make(path, Shape(**options), seed)


if __name__ == "__main__":
    main()
