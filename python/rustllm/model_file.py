"""How the weights of a model file are stored, in the words of llama.cpp and of GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The GGUF specification's numbers for the type of most of a file's tensors (`general.file_type`), of those served.
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    21: "Q2_K_S",
    32: "BF16",
}

#: llama.cpp spells mixtures out.
_SIZES = {"_S": " - Small", "_M": " - Medium", "_L": " - Large"}


@dataclass(frozen=True)
class FileType:
    """The type of most tensors of a file."""

    #: As in file names: `Q4_K_M`.
    name: str
    #: Whether it is the commonest type of the tensors, for want of a word in the file.
    guessed: bool = False

    @property
    def described(self) -> str:
        """As llama-server reports it: `Q4_K - Medium`."""
        words = {"F32": "all F32", "Q2_K": "Q2_K - Medium"}.get(self.name, self.name)
        words = words[:-2] + _SIZES.get(words[-2:], words[-2:])
        return f"{words} (guessed)" if self.guessed else words


def file_type(metadata: Mapping[str, Any], types: Mapping[str, int]) -> FileType:
    """What the file says of itself, else the commonest type of its tensors, which `types` counts."""
    number = metadata.get("general.file_type")
    if isinstance(number, int) and number in _FILE_TYPES:
        return FileType(_FILE_TYPES[number])
    return FileType(max(types, key=lambda name: types[name]), guessed=True)


def short_count(n: int) -> str:
    """A number of parameters in Ollama's form: `134.52M`, `1.1B`."""
    for size, unit, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 2)):
        if n >= size:
            return f"{n / size:.{digits}f}{unit}"
    return str(n)
