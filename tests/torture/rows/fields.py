"""Fields of the wrong type, out of range, or too many."""

from __future__ import annotations

import json
from typing import Any

from tests.support.attack import Row, Target
from tests.support.server import Answer
from tests.support.strategies import NUMBERS_OUT_OF_RANGE, WRONG_FOR
from tests.torture.rows.make import CHAT, COMPLETION, body, posted, with_fields

_USER = {"role": "user", "content": "Hey"}
_OTHER_TYPES: list[Any] = [True, "5", [], {}, 1.5]


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}… ({len(text)} characters)"


def _wrong(path: str, name: str, *values: Any) -> list[Row]:
    row = {"param": name}
    return [
        with_fields("wrong types", f"{name}: {_shown(value)} at {path}", path, row=row, **{name: value})
        for value in values
    ]


def _messages(text: str, value: Any, param: str = "messages") -> Row:
    return with_fields("wrong types", text, CHAT, row={"param": param}, messages=value)


_SAMPLING = [row for name, values in WRONG_FOR.items() for row in _wrong(COMPLETION, name, *values)]

#: Null is absent where a field may be; these may not.
_REQUIRED = [
    (CHAT, "messages"), ("/apply-template", "messages"), ("/v1/messages", "messages"), ("/v1/messages", "max_tokens"),
    ("/v1/completions", "prompt"), ("/v1/responses", "input"), ("/v1/embeddings", "input"),
    ("/tokenize", "content"), ("/detokenize", "tokens"),
]  # fmt: skip
_NULLS = [row for path, name in _REQUIRED for row in _wrong(path, name, None)]

_CHAT = [
    _messages('"messages": "hi"', "hi"),
    _messages("no messages", []),
    _messages("messages: an object", {"role": "user"}),
    _messages("a message that is a number", [5]),
    _messages("a message that is null", [None]),
    _messages("a message without a role", [{"content": "x"}]),
    _messages("a role that is unknown", [{"role": "pirate", "content": "x"}]),
    _messages("a role that is a number", [{"role": 5, "content": "x"}]),
    _messages("a user without content", [{"role": "user"}]),
    _messages("content that is a number", [{"role": "user", "content": 5}]),
    _messages("content that is true", [{"role": "user", "content": True}]),
    _messages("a part of an unknown type", [{"role": "user", "content": [{"type": "smell"}]}]),
    _messages("a part without a type", [{"role": "user", "content": [{"text": "x"}]}]),
    _messages("a part whose text is a number", [{"role": "user", "content": [{"type": "text", "text": 1}]}]),
    _messages("a call that is a number", [_USER, {"role": "assistant", "tool_calls": [1]}]),
    *(row for name in ("stream", "max_tokens", "n", "logprobs", "parallel_tool_calls")
      for row in _wrong(CHAT, name, "5", [], {})),
    *_wrong(CHAT, "tools", True, "x", {}, 5, [1], [{"type": "function"}]),
    *_wrong(CHAT, "tool_choice", True, 5, [], "whatever"),
    *_wrong(CHAT, "response_format", True, 5, "x", [], {"type": "hiccup"}),
    *_wrong(CHAT, "chat_template_kwargs", True, 5, "x", []),
]  # fmt: skip

_OTHERS = [
    *_wrong("/v1/messages", "max_tokens", *_OTHER_TYPES),
    *_wrong("/v1/responses", "input", True, 5, 1.5, {}),
    *_wrong("/v1/responses", "max_output_tokens", *_OTHER_TYPES),
    *_wrong("/v1/embeddings", "input", True, 5, 1.5, [True], [1.5]),
    *_wrong("/tokenize", "content", True, 5, {}, [True], [1.5]),
    *_wrong("/detokenize", "tokens", True, 5, "x", {}, [True], ["1"], [1.5], [-1], [512], [2**70]),
]

_RANGES = [
    *(with_fields("numbers out of range", f"{name}: {value:g}", row={"param": name, "says": "allowed"}, **{name: value})
      for name, value in NUMBERS_OUT_OF_RANGE),
    *(with_fields("numbers out of range", f"{name}: {_shown(value)}", row={"param": name, "says": "allowed"},
                  **{name: value})
      for name, value in [
          ("n_predict", -2), ("seed", 2**64), ("seed", -2), ("top_p", -0.1), ("min_p", 2), ("min_p", -1),
          ("repeat_penalty", 1e30), ("frequency_penalty", -1e9), ("presence_penalty", 1e30), ("max_tokens", 2**63),
          ("typical_p", -1), ("xtc_probability", 2), ("mirostat", 3), ("id_slot", 99),
          ("prompt", [-1]), ("prompt", [512]), ("prompt", [2**31]), ("prompt", [2**70]),
          ("stop_token_ids", [-1]), ("stop_token_ids", [512]),
          ("logit_bias", [[-1, 1]]), ("logit_bias", [[512, 1]]), ("logit_bias", [[10**9, 1]]),
      ]),
    # There is no such number in JSON, so that the place in the body is named and no field.
    *(Row("numbers out of range", f"{name}: NaN", posted(COMPLETION, b'{"prompt": "x", "%s": NaN}' % name.encode()),
          says="not valid JSON")
      for name in ("temperature", "repeat_penalty", "frequency_penalty", "presence_penalty")),
]  # fmt: skip

_FAN_OUT = [
    with_fields("fan-out", "n: 1e9", n=10**9),
    with_fields("fan-out", "n: 1e9 in a chat", CHAT, n=10**9),
    with_fields("fan-out", "best_of: 1e9", "/v1/completions", best_of=10**9),
    with_fields("fan-out", "1,000,000 prompts", prompt=["x"] * 1_000_000),
    with_fields(
        "fan-out", "1,000,000 prompts of tokens", row={"param": None, "says": "allowed"}, prompt=[[1]] * 1_000_000
    ),
    with_fields("fan-out", "100,000 prompts, OpenAI", "/v1/completions", prompt=["x"] * 100_000),
    with_fields("fan-out", "100,000 texts to embed", "/v1/embeddings", input=["x"] * 100_000),
    with_fields("fan-out", "250,000 prompts of tokens", prompt=[[1]] * 250_000),
    # Each is checked and rendered before their prompt is found to be too long: most of a second of a core of one's own.
    with_fields("fan-out", "100,000 messages", CHAT, row={"param": None, "within": 3.0}, messages=[_USER] * 100_000),
    with_fields(
        "fan-out", "1,000,000 messages", CHAT, row={"param": None, "statuses": (413,)}, messages=[_USER] * 1_000_000
    ),
]

_LISTS = [
    with_fields("list bombs", "500,000 stop strings", stop=["x"] * 500_000),
    with_fields("list bombs", "a stop string of 1 MB", stop=["x" * 1_000_000]),
    with_fields("list bombs", "500,000 biases", logit_bias=[[1, 1.0]] * 500_000),
    with_fields("list bombs", "500,000 biases by token", logit_bias={str(i): 1 for i in range(500_000)}),
    with_fields("list bombs", "100,000 tools", CHAT,
                tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}] * 100_000),
    with_fields("list bombs", "500,000 samplers", samplers=["top_k"] * 500_000),
    with_fields("list bombs", "500,000 sequence breakers", dry_sequence_breakers=["x"] * 500_000),
    with_fields("list bombs", "500,000 response fields", response_fields=["content"] * 500_000),
    with_fields("list bombs", "500,000 stop tokens", stop_token_ids=[1] * 500_000),
    Row("list bombs", "500,000 unknown fields",
        posted(COMPLETION, body(COMPLETION, {f"x{i}": i for i in range(500_000)})), (200,)),
]  # fmt: skip

_LOGPROBS = [
    with_fields("logprob memory", "top_logprobs: 1e6", CHAT, logprobs=True, top_logprobs=10**6),
    with_fields(
        "logprob memory", "n_probs: a vocabulary a hundred thousand times", n_predict=100_000, n_probs=512 * 100_000
    ),
    with_fields("logprob memory", "n_probs: 2^63", n_probs=2**63),
    with_fields("logprob memory", "logprobs: 1e6", "/v1/completions", logprobs=10**6),
]


def _too_long(target: Target) -> Answer:
    """One token longer than the context, by its tokens."""
    n_ctx = target.server.get("/props").body["default_generation_settings"]["n_ctx"]
    answer = target.post(COMPLETION, body(COMPLETION, {"prompt": [5] * (n_ctx + 1)}))
    error = answer.body["error"]
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (n_ctx + 1, n_ctx)
    return answer


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MIXED = "".join(_LETTERS[i * i % 26] + _LETTERS[i * 7 % 25] for i in range(5000)) * 1000
_BOTH = {"param": "prompt", "says": "the context 512"}

_PROMPTS = [
    with_fields("prompt", "empty list", prompt=[]),
    with_fields("prompt", "a list of an empty list", prompt=[[]]),
    Row("prompt", "empty text, which is BOS alone", posted(COMPLETION, body(COMPLETION, {"prompt": ""})), (200,)),
    Row("prompt", "only special tokens", posted(COMPLETION, body(COMPLETION, {"prompt": [1, 2, 1, 2]})), (200,)),
    Row("prompt", "special tokens by name", posted(COMPLETION, body(COMPLETION, {"prompt": "<s></s><s>"})), (200,)),
    Row("prompt", "one token longer than the context", _too_long, param="prompt", says="513"),
    with_fields("prompt", "longer than the context", row=_BOTH, prompt="a b " * 2000),
    with_fields("prompt", "10 MB of one letter", row=_BOTH, prompt="a" * 10_000_000),
    with_fields("prompt", "10 MB without spaces", row=_BOTH, prompt=_MIXED),
    with_fields("prompt", "10 MB of spaces", row=_BOTH, prompt=" " * 10_000_000),
    with_fields("prompt", "9 MB of ideographs", row=_BOTH, prompt="日本語" * 500_000),
    with_fields("prompt", "a chat of 10 MB", CHAT, row={"param": None, "says": "512"},
                messages=[{"role": "user", "content": "a" * 10_000_000}]),
    with_fields("prompt", "10 MB to embed", "/v1/embeddings", row={"param": None}, input="a" * 10_000_000),
    # It is legal, and its answer has millions of tokens, which take their time to be found and written.
    Row("prompt", "5 MB to tokenize", posted("/tokenize", body("/tokenize", {"content": _MIXED[:5_000_000]})),
        (200,), within=5.0),
]  # fmt: skip

ROWS = [*_SAMPLING, *_NULLS, *_CHAT, *_OTHERS, *_RANGES, *_FAN_OUT, *_LISTS, *_LOGPROBS, *_PROMPTS]
