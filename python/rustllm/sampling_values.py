"""Sampling settings in the forms that people write them in, as the engine takes them.

Ranges are the engine's to judge; here are only forms that it does not know: a seed of -1, samplers by
letter, biases on texts. All raise InvalidRequestError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rustllm._rustllm import Tokenizer
from rustllm.flags.resolve import SAMPLER_LETTERS
from rustllm.invalid import invalid, shown

RANDOM_SEED = 0xFFFF_FFFF

#: Biases of one request of the Python API; a server has a limit of its own for them (`rustllm.limits`).
MAX_BIASES = 4096

#: Characters of all texts that one request has biases on.
MAX_BIAS_TEXT = 1 << 16

#: A token id as the key of an object; Python reads no number of thousands of digits.
_TOKEN_ID = re.compile(r"-?[0-9]{1,18}")


def seed_value(seed: int) -> int:
    """A seed, of which -1 is a random one."""
    if not -1 <= seed <= RANDOM_SEED:
        raise invalid("seed", f"{seed} is out of range; allowed: -1 (random) to 4294967295")
    return RANDOM_SEED if seed == -1 else seed


def sampler_names(samplers: Iterable[str] | str) -> list[str]:
    """The stages of the chain, by name or by letter in one text."""
    if not isinstance(samplers, str):
        return list(samplers)
    return [SAMPLER_LETTERS[letter] for letter in samplers if letter in SAMPLER_LETTERS]


def check_biases(entries: Any) -> None:
    """Counts the entries before any of them is looked at, which takes a second for half a million."""
    if isinstance(entries, (list, Mapping)) and len(entries) > MAX_BIASES:
        raise invalid("logit_bias", f"it has {len(entries)} entries; allowed: up to {MAX_BIASES}")


def logit_bias_pairs(entries: Mapping[Any, Any] | Iterable[Any], tokenizer: Tokenizer) -> list[tuple[int, float]]:
    """Pairs of token id and bias, from token ids or texts and a number, or false for a token never to come."""
    pairs: Iterable[Any] = entries
    if isinstance(entries, Mapping):
        pairs = [(_key(key), bias) for key, bias in entries.items()]
    out = []
    room = MAX_BIAS_TEXT
    for pair in pairs:
        if len(pair) != 2:
            raise invalid("logit_bias", f"{shown(pair)} is not a pair of token and bias")
        token, bias = pair
        if isinstance(token, str) and (room := room - len(token)) < 0:
            raise invalid("logit_bias", f"its texts are too long; allowed: up to {MAX_BIAS_TEXT} characters in all")
        if bias is True or isinstance(bias, str):
            raise invalid("logit_bias", f"{shown(bias)} is not a bias; allowed: a number, false")
        value = float("-inf") if bias is False else float(bias)
        out += [(id_, value) for id_ in _bias_tokens(token, tokenizer)]
    return out


def _key(key: object) -> object:
    """The keys of JSON's objects are texts; one of digits is a token id."""
    return int(key) if isinstance(key, str) and _TOKEN_ID.fullmatch(key) else key


def _bias_tokens(token: object, tokenizer: Tokenizer) -> list[int]:
    if isinstance(token, str):
        return tokenizer.encode(token, add_special=False, parse_special=False)
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < tokenizer.vocab_size:
        allowed = f"a text, or a token id from 0 to {tokenizer.vocab_size - 1}"
        raise invalid("logit_bias", f"{shown(token)} is not a token; allowed: {allowed}")
    return [token]
