"""Small requests that cost much: refused by a stated cap or at their first wrong entry, or bounded in work."""

from __future__ import annotations

from typing import Any

from tests.support.attack import Row, Send
from tests.torture.rows.make import CHAT, COMPLETION, body, posted, with_fields

_USER = {"role": "user", "content": "Hey"}

#: The class of these rows.
KIND = "small requests that cost much"


def _cost(text: str, path: str = COMPLETION, *, row: dict[str, Any] | None = None, **given: Any) -> Row:
    return with_fields(KIND, text, path, row=row, **given)


def _raw(path: str, before: str, one: str, n: int, after: str) -> Send:
    """A body that is short to write but long: `n` entries between two texts."""
    return posted(path, f"{before}{','.join([one] * n)}{after}".encode())


def _served(text: str, path: str, **given: Any) -> Row:
    """Legal, and bounded in work."""
    return Row(KIND, text, posted(path, body(path, given)), (200,), within=3.0)


_GRAMMARS = [
    _cost("a grammar of [ and a backslash", row={"says": "line "}, grammar="[" * 590_000 + "\\"),
    _cost("a grammar of quotation marks and a backslash", row={"says": "line "}, grammar='"a' * 290_000 + "\\"),
    _cost("a grammar of backslashes", row={"says": "line "}, grammar='"' + "\\" * 590_001),
]

_WRONG_ENTRIES = [
    Row(KIND, "1,500,000 nulls as stop tokens",
        _raw(COMPLETION, '{"prompt":"x","stop_token_ids":[', "null", 1_500_000, "]}"),
        param="stop_token_ids", says="--max-list"),
    Row(KIND, "a prompt of one token and 1,500,000 nulls", _raw(COMPLETION, '{"prompt":[1,', "null", 1_500_000, "]}"),
        param="prompt", says="--max-token-ids"),
    _cost("60,000 nulls as stop tokens", row={"param": "stop_token_ids[0]"}, stop_token_ids=[None] * 60_000),
    _cost("a prompt of one token and 1,000,000 nulls", row={"param": "prompt[1]"}, prompt=[1, *[None] * 1_000_000]),
    _cost("60,000 nulls as samplers", row={"param": "samplers"}, samplers=[None] * 60_000),
    _cost("60,000 nulls as adapters", row={"param": "lora[0]"}, lora=[None] * 60_000),
    _cost("60,000 wrong metadata", "/v1/responses", row={"param": "metadata"},
          metadata={str(i): i for i in range(60_000)}),
    _cost("1,000,000 nulls to embed", "/v1/embeddings", row={"param": "input"}, input=[1, *[None] * 1_000_000]),
    _cost("1,000,000 nulls to detokenize", "/detokenize", row={"param": "tokens[0]"}, tokens=[None] * 1_000_000),
    Row(KIND, "a bias of 1,500,000 numbers", _raw(COMPLETION, '{"prompt":"x","logit_bias":[[', "1", 1_500_000, "]]}"),
        param="logit_bias[0]"),
    Row(KIND, "an object of 1,500,000 numbers in the place of a list",
        _raw(COMPLETION, '{"prompt":"x","stop_token_ids":{"a":[', "1", 1_500_000, "]}}"), param="stop_token_ids"),
    Row(KIND, "100,000 calls without a function, Ollama",
        _raw("/api/chat", '{"messages":[{"role":"assistant","tool_calls":[', "{}", 100_000, "]}]}")),
]  # fmt: skip

_BIASES = [
    _served("a bias on --5, which is a text", COMPLETION, logit_bias={"--5": 1}),
    _served("a bias on 5,000 digits, which are a text", COMPLETION, logit_bias={"9" * 5000: 1}),
    _cost("a bias on -5", row={"says": "allowed"}, logit_bias={"-5": 1}),
    _cost("a bias on 18 digits", row={"says": "allowed"}, logit_bias={"9" * 18: 1}),
    _cost("a bias on a text of 8 MB", row={"says": "allowed"}, logit_bias=[["ab " * 2_700_000, 1]]),
]

_TOKENS = [
    _cost("1,500,000 tokens with their texts", "/tokenize", row={"param": "content", "says": "--max-token-ids"},
          with_pieces=True, content="\n" * 1_500_000),
    _cost("15 MB to tokenize", "/tokenize", row={"says": "--max-tokenize-bytes"}, content="a b " * 3_700_000),
    _served("200,000 tokens with their texts", "/tokenize", with_pieces=True, content="\n" * 200_000),
    _served("200,000 texts and no ids", "/tokenize", content=["a"] * 200_000),
    Row(KIND, "1,500,000 tokens to detokenize", _raw("/detokenize", '{"tokens":[', "5", 1_500_000, "]}"),
        param="tokens", says="--max-token-ids"),
    _served("500,000 tokens to detokenize", "/detokenize", tokens=[5] * 500_000),
]  # fmt: skip

_MESSAGES = [
    Row(KIND, "100,000 empty messages", _raw(CHAT, '{"messages":[', '{"role":"user","content":""}', 100_000, "]}"),
        param="messages", says="--max-messages"),
    Row(KIND, "200,000 parts of a message",
        _raw(CHAT, '{"messages":[{"role":"user","content":[', '{"type":"text","text":""}', 200_000, "]}]}"),
        param="", within=2.0),
    Row(KIND, "100,000 results in a turn, Anthropic",
        _raw("/v1/messages", '{"max_tokens":4,"messages":[{"role":"user","content":[',
             '{"type":"tool_result","tool_use_id":"a","content":""}', 100_000, "]}]}"), says="--max-messages"),
    Row(KIND, "100,000 calls in a turn, Ollama",
        _raw("/api/chat", '{"messages":[{"role":"assistant","tool_calls":[', '{"function":{"name":"f"}}', 100_000,
             "]}]}"), says="--max-tools"),
    _cost("a call with arguments of 10 MB", CHAT, row={"param": None, "says": "512"}, messages=[
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "a" * 10_000_000}}]}, _USER]),
]  # fmt: skip

ROWS = [*_GRAMMARS, *_WRONG_ENTRIES, *_BIASES, *_TOKENS, *_MESSAGES]
