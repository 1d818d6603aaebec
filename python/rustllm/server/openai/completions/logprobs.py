"""Log probabilities in the older of OpenAI's shapes, with llama-server's entries beside them."""

from __future__ import annotations

from typing import Any

from rustllm._rustllm import TokenProb
from rustllm.server.generation import probs_json


def logprobs_json(
    probs: list[tuple[TokenProb, list[TokenProb]]], offset: int, *, post_sampling: bool
) -> dict[str, Any]:
    """The log probabilities of tokens whose first begins at `offset` in the text."""
    content = probs_json(probs, post_sampling)
    if post_sampling:
        # These are probabilities, for which OpenAI has no shape.
        return {"content": content}
    offsets = []
    for entry in content:
        offsets.append(offset)
        offset += len(entry["token"])
    return {
        "content": content,
        "tokens": [entry["token"] for entry in content],
        "token_logprobs": [entry["logprob"] for entry in content],
        "top_logprobs": [{top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in content],
        "text_offset": offsets,
    }
