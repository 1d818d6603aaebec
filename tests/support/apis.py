"""The APIs that answer texts, each with its request, the text of its answers, their counts and the last event of its
streams: what tests say of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: An event as its JSON; OpenAI's end mark has a value of its own.
Event = dict[str, Any]
DONE: Event = {"mark": "[DONE]"}


class Usage(NamedTuple):
    """Tokens of a prompt and of its answer."""

    prompt: int
    answer: int


@dataclass(frozen=True)
class Api:
    """One of them."""

    path: str
    #: The request for so many tokens after a text, the same ones each time.
    body: Callable[[str, int], dict[str, Any]]
    #: The text of a whole answer.
    text: Callable[[dict[str, Any]], str]
    #: The text of an event.
    piece: Callable[[Event], str]
    #: The counts in a whole answer, or in an event; None for an event that has none.
    usage: Callable[[dict[str, Any]], Usage | None]
    #: Whether an event is the one that tells a client that its answer is whole.
    is_last: Callable[[Event], bool]
    #: What a stream has to be asked for beside `stream`.
    streamed: dict[str, Any] = field(default_factory=dict)
    #: Whether the text is a message, for the chat template.
    is_chat: bool = True
    #: Whether an answer goes on past the model's own end.
    ignores_eos: bool = True

    def stream(self, text: str, n: int) -> dict[str, Any]:
        """The request for a stream."""
        return {**self.body(text, n), "stream": True, **self.streamed}


def event_of(line: bytes | str) -> Event | None:
    """The event of a line: of server-sent events, or a line of JSON. None for other lines."""
    text = line.decode() if isinstance(line, bytes) else line
    data = text.removeprefix("data: ").strip()
    if data == DONE["mark"]:
        return DONE
    return json.loads(data) if data.startswith("{") else None


def is_error(event: Event) -> bool:
    """Whether a stream ends with it since its answer failed."""
    return bool(event.get("error")) or event.get("type") == "response.failed"


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _openai_usage(answer: dict[str, Any]) -> Usage | None:
    if not (usage := answer.get("usage")):
        return None
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    _check_timings(answer["timings"], Usage(usage["prompt_tokens"], usage["completion_tokens"]))
    return Usage(usage["prompt_tokens"], usage["completion_tokens"])


def _check_timings(timings: dict[str, Any], usage: Usage) -> None:
    assert (timings["cache_n"] + timings["prompt_n"], timings["predicted_n"]) == usage


def _native_usage(answer: dict[str, Any]) -> Usage | None:
    if "timings" not in answer:
        return None
    usage = Usage(answer["tokens_evaluated"], answer["tokens_predicted"])
    _check_timings(answer["timings"], usage)
    return usage


def _responses_usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("response", answer).get("usage")
    if usage is None:
        return None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return Usage(usage["input_tokens"], usage["output_tokens"])


def _messages_usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("usage")
    if usage is None:
        return None
    of_cache = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    return Usage(usage["input_tokens"] + of_cache, usage["output_tokens"])


def _ollama_usage(answer: dict[str, Any]) -> Usage | None:
    return Usage(answer["prompt_eval_count"], answer["eval_count"]) if answer["done"] else None


_WITH_USAGE = {"stream_options": {"include_usage": True}}

COMPLETION = Api(
    "/completion",
    body=lambda text, n: {"prompt": text, "n_predict": n, "ignore_eos": True, "seed": 3},
    text=lambda answer: answer["content"],
    piece=lambda event: event["content"],
    usage=_native_usage,
    is_last=lambda event: bool(event["stop"]),
    is_chat=False,
)
COMPLETIONS = Api(
    "/v1/completions",
    body=lambda text, n: {"prompt": text, "max_tokens": n, "ignore_eos": True, "seed": 3},
    text=lambda answer: answer["choices"][0]["text"],
    piece=lambda event: "".join(choice["text"] for choice in event.get("choices", [])),
    usage=_openai_usage,
    is_last=lambda event: event is DONE,
    streamed=_WITH_USAGE,
    is_chat=False,
)
CHAT = Api(
    "/v1/chat/completions",
    body=lambda text, n: {"messages": _messages(text), "max_tokens": n, "ignore_eos": True, "seed": 3},
    text=lambda answer: answer["choices"][0]["message"]["content"],
    piece=lambda event: "".join(choice["delta"].get("content") or "" for choice in event.get("choices", [])),
    usage=_openai_usage,
    is_last=lambda event: event is DONE,
    streamed=_WITH_USAGE,
)
RESPONSES = Api(
    "/v1/responses",
    body=lambda text, n: {"input": text, "max_output_tokens": n, "ignore_eos": True, "seed": 3},
    text=lambda answer: answer["output"][0]["content"][0]["text"],
    piece=lambda event: event["delta"] if event["type"] == "response.output_text.delta" else "",
    usage=_responses_usage,
    is_last=lambda event: event["type"] in ("response.completed", "response.incomplete"),
)
MESSAGES = Api(
    "/v1/messages",
    body=lambda text, n: {"messages": _messages(text), "max_tokens": n, "temperature": 0},
    text=lambda answer: answer["content"][0]["text"],
    piece=lambda event: event["delta"]["text"] if event["type"] == "content_block_delta" else "",
    usage=_messages_usage,
    is_last=lambda event: event["type"] == "message_stop",
    ignores_eos=False,
)
OLLAMA_CHAT = Api(
    "/api/chat",
    body=lambda text, n: {"messages": _messages(text), "stream": False, "options": {"num_predict": n, "seed": 3}},
    text=lambda answer: answer["message"]["content"],
    piece=lambda event: event["message"]["content"],
    usage=_ollama_usage,
    is_last=lambda event: bool(event["done"]),
    ignores_eos=False,
)
OLLAMA_GENERATE = Api(
    "/api/generate",
    body=lambda text, n: {"prompt": text, "stream": False, "options": {"num_predict": n, "seed": 3}},
    text=lambda answer: answer["response"],
    piece=lambda event: event["response"],
    usage=_ollama_usage,
    is_last=lambda event: bool(event["done"]),
    ignores_eos=False,
)

APIS = (COMPLETION, COMPLETIONS, CHAT, RESPONSES, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE)
