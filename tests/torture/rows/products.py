"""Small requests that multiply: each number is allowed, their product is not; and loops within loops."""

from __future__ import annotations

import json
from typing import Any

from tests.support.attack import Row, Send, Target
from tests.support.server import Answer
from tests.torture.rows.make import CHAT, COMPLETION, body, posted

KIND = "products"

_TEXT = "/v1/completions"
_RESPONSES = "/v1/responses"
_OLLAMA = "/api/chat"
_ASKED = {"include": ["message.output_text.logprobs"]}
_FLAG = "(--max-answer-logprobs)"

_GRAMMAR = "root ::= [a-z]\n" + "#" * 200_000

#: Calls with as many results, and names of tools that are allowed.
_MANY = 10_000


def _too_many(text: str, path: str, param: str | None = None, **fields: Any) -> Row:
    return Row(KIND, text, posted(path, body(path, fields)), param=param, says=_FLAG)


def _called(arguments: str) -> dict[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _large(path: str, fields: dict[str, Any]) -> Send:
    """An answer that is large and allowed, and that is read to its end."""

    def send(target: Target) -> Answer:
        answer = target.post(path, body(path, fields))
        assert answer.status == 200, answer.body
        return answer

    return send


def _streamed(target: Target) -> Answer:
    """The stream of a response, of which each event is there, the last with all log probabilities."""
    fields = {**_ASKED, "top_logprobs": 200, "max_output_tokens": 400, "ignore_eos": True, "stream": True}
    with target.server.client.stream("POST", _RESPONSES, json={"input": "Hey", **fields}) as response:
        *_, last = (line for line in response.iter_lines() if line.startswith("data: "))
    ended = json.loads(last.removeprefix("data: "))["response"]
    (part,) = ended["output"][0]["content"]
    assert len(part["logprobs"]) == ended["usage"]["output_tokens"] == 400
    return Answer(response.status_code, None, response.headers)


_ANSWERS = [
    _too_many("n x the context x n_probs", COMPLETION, "n_probs", n=128, n_probs=512, n_predict=-1, ignore_eos=True),
    _too_many("n x tokens x n_probs", COMPLETION, "n_probs", n_cmpl=128, n_probs=512, n_predict=500),
    _too_many("prompts x n x tokens x n_probs", COMPLETION, "n_probs",
              prompt=["a"] * 64, n=16, n_probs=64, n_predict=500),
    _too_many("prompts x n x tokens x logprobs", _TEXT, "logprobs",
              prompt=["a"] * 64, n=128, logprobs=20, max_tokens=100),
    _too_many("prompts x tokens x prompt_logprobs", _TEXT, "prompt_logprobs",
              prompt=[[5] * 250] * 64, prompt_logprobs=500, max_tokens=1),
    _too_many("prompts x tokens x echoed logprobs", _TEXT, "logprobs",
              prompt=[[5] * 250] * 64, echo=True, logprobs=500, max_tokens=1),
    _too_many("n x tokens x top_logprobs", CHAT, "top_logprobs", n=64, logprobs=True, top_logprobs=512, max_tokens=500),
    Row(KIND, "a grammar of 200 kB, which each of 128 answers repeats",
        _large(COMPLETION, {"prompt": ["a"] * 16, "n": 8, "n_predict": 1, "grammar": _GRAMMAR}), (200,), within=10.0),
    Row(KIND, "400 tokens with 500 log probabilities each",
        _large(COMPLETION, {"n_predict": 400, "n_probs": 500, "ignore_eos": True}), (200,), within=10.0),
    Row(KIND, "a stream whose last event has 400 tokens with 200 log probabilities each", _streamed, (200,),
        within=10.0),
]  # fmt: skip


_LISTS = [
    Row(KIND, "as many results as calls",
        posted(_OLLAMA, body(_OLLAMA, {"messages": [
            {"role": "user", "content": "Hey"},
            {"role": "assistant", "tool_calls": [{"function": {"name": f"f{i}"}} for i in range(_MANY)]},
            *[{"role": "tool", "content": "", "tool_name": f"f{_MANY - 1 - i}"} for i in range(_MANY)],
        ]})), (200, 400), within=3.0),
    Row(KIND, "1,000 tools, of which 10,000 are allowed",
        posted(_RESPONSES, body(_RESPONSES, {
            "tools": [{"type": "function", "name": f"f{i}"} for i in range(1000)],
            "tool_choice": {"type": "allowed_tools", "mode": "auto",
                            "tools": [*[{"name": "f999"}] * _MANY, {"name": "g"}]},
        })), param="tool_choice.tools"),
    Row(KIND, "1,000 tools, of which all are allowed and one that is none",
        posted(_RESPONSES, body(_RESPONSES, {
            "tools": [{"type": "function", "name": f"f{i}"} for i in range(1000)],
            "tool_choice": {"type": "allowed_tools", "mode": "auto",
                            "tools": [*[{"name": "f999"}] * 1000, {"name": "g"}]},
        })), param="tool_choice.tools[1000].name"),
    Row(KIND, "two million names of streams",
        lambda target: target.post("/v1/streams/lookup", b'{"conversation_ids": [' + b'"a",' * 2_000_000 + b'"a"]}'),
        param="conversation_ids", says="--max-list", within=3.0),
    Row(KIND, "half a character in the text of arguments",
        posted(CHAT, body(CHAT, {"messages": [{"role": "user", "content": "x"}, _called('{"a": "\\ud800"}'),
                                              {"role": "tool", "content": "y", "tool_call_id": "1"}]})), (200, 400)),
    Row(KIND, "a schema as text that is no JSON, beside tools",
        posted(CHAT, body(CHAT, {"guided_json": "{", "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]})),
        param="guided_json", says="it is no JSON"),
]  # fmt: skip

ROWS = [*_ANSWERS, *_LISTS]
