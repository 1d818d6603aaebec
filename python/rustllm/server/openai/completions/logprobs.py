"""Log probabilities in the older of OpenAI's shapes, with llama-server's entries beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import orjson

from rustllm._rustllm import Tokenizer, TokenProb
from rustllm.choice import PromptProb, TokenProbs
from rustllm.server.errors import dumps
from rustllm.server.generation import probs_json
from rustllm.server.written import Items


class Place(NamedTuple):
    """What is told of a token of a prompt."""

    logprob: float
    #: The most probable tokens, as JSON: thousands of these objects would be written in one event.
    top: orjson.Fragment


@dataclass(frozen=True)
class Echo:
    """What an answer begins with: the prompt, if it is to be there."""

    text: str = ""
    #: Its tokens, where their log probabilities are wanted, and how many of the most probable ones at each.
    tokens: tuple[int, ...] = ()
    n_top: int = 0

    def place_json(self, prob: PromptProb) -> Place:
        """What is told of a token of the prompt."""
        own, _, top = prob
        return Place(own.value, orjson.Fragment(dumps(_by_text(top[: self.n_top]))))

    def logprobs_json(self, tokenizer: Tokenizer, places: Callable[[], Iterable[Place]]) -> dict[str, Any]:
        """The prompt's part of the answer's log probabilities; nothing is known of the first token."""
        return {
            "content": [],
            "tokens": [tokenizer.token_bytes(token).decode("utf-8", "replace") for token in self.tokens],
            "token_logprobs": Items(lambda: chain([None], (place.logprob for place in places()))),
            "top_logprobs": Items(lambda: chain([None], (place.top for place in places()))),
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
    return {_text(prob): prob.value for prob in top}


def logprobs_json(probs: Callable[[], Iterable[TokenProbs]], offset: int, *, post_sampling: bool) -> dict[str, Items]:
    """The log probabilities of tokens whose first begins at `offset` in the text."""
    content = Items(lambda: probs_json(probs(), post_sampling))
    if post_sampling:
        # These are probabilities, for which OpenAI has no shape.
        return {"content": content}
    return {
        "content": content,
        "tokens": Items(lambda: (_text(own) for own, _ in probs())),
        "token_logprobs": Items(lambda: (own.value for own, _ in probs())),
        "top_logprobs": Items(lambda: (_by_text(top) for _, top in probs())),
        "text_offset": Items(lambda: _ends(offset, probs())),
    }


def _ends(offset: int, probs: Iterable[TokenProbs]) -> Iterator[int]:
    for own, _ in probs:
        yield offset
        offset += len(_text(own))


def _text(prob: TokenProb) -> str:
    return prob.bytes.decode("utf-8", "replace")


def joined(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """The log probabilities of a text whose two parts have these."""
    if first is None or second is None:
        return first or second
    return {name: _chained(values, second[name]) for name, values in first.items()}


def _chained(first: Iterable[Any], second: Iterable[Any]) -> Items:
    return Items(lambda: chain(first, second))
