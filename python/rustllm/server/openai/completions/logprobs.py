"""Log probabilities in the older of OpenAI's shapes, with llama-server's entries beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustllm._rustllm import Tokenizer, TokenProb
from rustllm.choice import PromptProb
from rustllm.server.generation import probs_json


@dataclass(frozen=True)
class Echo:
    """What an answer begins with: the prompt, if it is to be there."""

    text: str = ""
    #: Its tokens, where their log probabilities are wanted, and how many of the most probable ones at each.
    tokens: tuple[int, ...] = ()
    n_top: int = 0

    def logprobs_json(self, tokenizer: Tokenizer, probs: list[PromptProb]) -> dict[str, Any]:
        """The prompt's part of the answer's log probabilities; nothing is known of the first token."""
        return {
            "content": [],
            "tokens": [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in self.tokens],
            "token_logprobs": [None, *(own.value for own, _, _ in probs)],
            "top_logprobs": [None, *(_by_text(top[: self.n_top]) for _, _, top in probs)],
            "text_offset": _offsets(self.text, [tokenizer.token_bytes(token, special=False) for token in self.tokens]),
        }


def _offsets(text: str, pieces: list[bytes]) -> list[int]:
    """Where each token of a prompt begins in its text. Tokens may say more than the text at its start, such
    as a blank, so they are counted from the end."""
    # A character of several bytes may have several tokens; it counts where it begins.
    lengths = [sum(byte & 0xC0 != 0x80 for byte in piece) for piece in pieces]
    at = len(text) - sum(lengths)
    offsets = []
    for length in lengths:
        offsets.append(max(0, at))
        at += length
    return offsets


def _by_text(top: list[TokenProb]) -> dict[str, float]:
    return {prob.bytes.decode("utf-8", "replace"): prob.value for prob in top}


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


def joined(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """The log probabilities of a text whose two parts have these."""
    if first is None or second is None:
        return first or second
    return {name: values + second[name] for name, values in first.items()}
