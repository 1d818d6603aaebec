"""Asks llama-server for the log probabilities of all tokens after each of a prompt's last positions and writes
them to recorded.json, so that tests need no peer.

Usage: python -m tests.data.architectures.record LLAMA-SERVER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.data.architectures.make import MODELS, SHORT_CONTEXT, WORDS
from tests.support.peer import Peer, ask

#: Longer than the windows, and with the answer longer than a block of the cache.
PROMPT = [(index * 7919 + 11) % (len(WORDS) - 3) + 3 for index in range(60)]

STEPS = 8

#: Probabilities are those before biases. Bytes beyond ASCII are kept out of answers, since llama-server gives the
#: probabilities of whole characters only.
REQUEST = {
    "n_predict": STEPS,
    "temperature": 0,
    "n_probs": len(WORDS),
    "ignore_eos": True,
    "logit_bias": [[WORDS.index(f"<0x{byte:02X}>"), False] for byte in range(128, 256)],
    "cache_prompt": False,
    "return_tokens": True,
}

#: A model with LongRoPE has other factors for contexts longer than it was made for.
CONTEXTS = {"phi3": [SHORT_CONTEXT, 2 * SHORT_CONTEXT]}


def record(program: str, model: Path, context: int) -> dict[str, Any]:
    """The greedy answer with the distribution before each of its tokens."""
    with Peer(program, model, "-c", str(context), "-np", "1", "-t", "1"):
        answer = ask("/completion", {**REQUEST, "prompt": PROMPT})
    rows = []
    for step in answer["completion_probabilities"]:
        found = {entry["id"]: entry["logprob"] for entry in step["top_logprobs"]}
        rows.append([round(found[token], 5) for token in range(len(WORDS))])
    return {"model": model.name, "context": context, "prompt": PROMPT, "answer": answer["tokens"], "logprobs": rows}


def main(program: str) -> None:
    """Records all models."""
    here = Path(__file__).parent
    found = [
        record(program, here / f"{name}.gguf", context)
        for name in MODELS
        for context in CONTEXTS.get(name, [2 * SHORT_CONTEXT])
    ]
    lines = [json.dumps(entry, separators=(",", ":")) for entry in found]
    (here / "recorded.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
