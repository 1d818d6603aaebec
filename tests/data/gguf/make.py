"""Makes quants.bin: two random blocks of each type with what the `gguf` package decodes them to.

For each type, in the order of TYPES: the blocks' bytes, then the f32 values. Needs `gguf` and `numpy`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

TYPES = ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")

#: Where the f16 scales of a block lie; random bytes there could be infinite.
SCALES = {"F16": (0,), "Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2),
          "Q5_K": (0, 2), "Q6_K": (208,)}  # fmt: skip

random = np.random.default_rng(1)
out = b""
for name in TYPES:
    kind = GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (2, size), dtype=np.uint8)
    for at in SCALES.get(name, (0,)):
        values = random.uniform(-2, 2, 2)
        scales = values.astype(np.float16).view(np.uint8).reshape(2, 2)
        if name == "BF16":
            scales = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(2, 2)
        blocks[:, at : at + 2] = scales
    out += blocks.tobytes() + quants.dequantize(blocks, kind).astype(np.float32).tobytes()
Path(__file__).with_name("quants.bin").write_bytes(out)
