"""From Ollama's requests to the chat request that means the same."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from rustllm.server.errors import ApiError
from rustllm.server.ollama.schemas import (
    AnswerFields,
    ChatRequest,
    GenerateRequest,
    Options,
)
from rustllm.server.renamed import Names

#: What the chat's fields are called here.
NAMES: Names = (
    (r"n_predict", "options.num_predict"),
    (r"n_keep", "options.num_keep"),
    (r"response_format\.json_schema\.schema", "format"),
    (r"json_schema", "format"),
    (r"(seed|temperature|top_k|top_p|min_p|typical_p|repeat_last_n|repeat_penalty)(?![a-z_])", r"options.\1"),
    (r"(presence_penalty|frequency_penalty|mirostat|mirostat_tau|mirostat_eta|stop)(?![a-z_])", r"options.\1"),
)


def refused(param: str, message: str) -> ApiError:
    """A 400 that names its place."""
    return ApiError(400, f"{param}: {message}", param=param)


def sampling_fields(request: AnswerFields) -> dict[str, Any]:
    """The settings of sampling, and what the answer must be."""
    options = request.options or Options.model_validate({})
    fields = {name: getattr(options, name) for name in Options.model_fields if not name.startswith("num_")}
    # Below -1 means to fill the context, which is the limit anyway.
    limit = options.num_predict
    form = request.format
    if isinstance(form, dict):
        fields["response_format"] = {"type": "json_schema", "json_schema": {"schema": form}}
    elif form == "json":
        fields["response_format"] = {"type": "json_object"}
    return {**fields, "n_predict": limit if limit is None else max(limit, -1), "n_keep": options.num_keep}


def chat_fields(request: ChatRequest) -> dict[str, Any]:
    """The fields of the chat. Raises ApiError."""
    return {**_common(request), "messages": _messages(request.messages or []), "tools": request.tools}


def generate_fields(request: GenerateRequest) -> dict[str, Any]:
    """The fields of a chat with one prompt. Raises ApiError."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    return {**_common(request), "messages": [*system, {"role": "user", "content": request.prompt}]}


def refuse_unsupported(request: GenerateRequest) -> None:
    """Refuses what would change the answer and is not there."""
    why = {
        "template": "a template comes from the model or the operator, never from a request",
        "context": "tokens of an earlier answer are not taken; send the chat so far to /api/chat",
        "images": "images are not supported by this model",
    }
    for name, message in why.items():
        if getattr(request, name):
            raise refused(name, message)


def _common(request: AnswerFields) -> dict[str, Any]:
    think = request.think
    wants = bool(request.logprobs)
    return {
        **sampling_fields(request),
        "model": request.model,
        "stream": request.stream is not False,
        "enable_thinking": None if think is None else think is not False,
        "reasoning_effort": {"max": "high"}.get(think, think) if isinstance(think, str) else None,
        "logprobs": wants or None,
        "top_logprobs": (request.top_logprobs or 0) if wants else None,
    }


class _Waiting:
    """The calls of a turn that have no result yet, in their order. Each is taken once, however many there are."""

    def __init__(self, calls: list[tuple[str, str]]) -> None:
        """`calls` are pairs of an id and the function's name."""
        self._names = dict(calls)
        self._all = deque(self._names)
        self._by_name: dict[str, deque[str]] = defaultdict(deque)
        for ident, name in calls:
            self._by_name[name].append(ident)

    def take(self, name: str | None) -> tuple[str, str] | None:
        """The first call of the function `name`, or of any if there is none."""
        own = self._all if name is None else self._by_name[name]
        for calls in (own, self._all):
            while calls:
                ident = calls.popleft()
                # It may have been taken by the other way.
                if ident in self._names:
                    return ident, self._names.pop(ident)
        return None


def _messages(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of turns that are `TurnFields`. A result belongs to the first call of its tool, or of any, that has
    none yet."""
    messages: list[dict[str, Any]] = []
    waiting = _Waiting([])
    count = 0
    for place, turn in enumerate(turns):
        if turn.get("images"):
            raise refused(f"messages[{place}].images", "images are not supported by this model")
        message: dict[str, Any] = {"role": turn["role"], "content": turn.get("content") or ""}
        if turn.get("thinking"):
            message["reasoning_content"] = turn["thinking"]
        tool = turn.get("tool_name")
        if turn.get("tool_calls"):
            called = [(f"call_{count + index}", call["function"]) for index, call in enumerate(turn["tool_calls"])]
            count += len(called)
            waiting = _Waiting([(ident, function["name"]) for ident, function in called])
            message["tool_calls"] = [_call(ident, function) for ident, function in called]
        elif turn["role"] == "tool" and (found := waiting.take(tool)) is not None:
            message |= {"tool_call_id": found[0], "name": tool or found[1]}
        messages.append(message)
    return messages


def _call(ident: str, function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or {}
    return {"id": ident, "type": "function", "function": {"name": function["name"], "arguments": arguments}}
