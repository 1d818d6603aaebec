"""From Ollama's requests to the chat request that means the same."""

from __future__ import annotations

from collections import deque
from typing import Any

from rustllm.server.errors import ApiError
from rustllm.server.ollama.schemas import AnswerFields, ChatRequest, GenerateRequest, Options, TurnFields
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
    """Calls that have no results yet, in their order."""

    def __init__(self) -> None:
        #: The name of the tool that each calls, and the calls of each tool.
        self._names: dict[str, str] = {}
        self._calls: dict[str, deque[str]] = {}

    def add(self, ident: str, name: str) -> None:
        """Notes a call."""
        self._names[ident] = name
        self._calls.setdefault(name, deque()).append(ident)

    def take(self, name: str | None) -> tuple[str, str] | None:
        """Takes the first call of this tool, or of any where there is none, with the tool's name."""
        if not self._names:
            return None
        ident = next(iter(self._names)) if name is None or not self._calls.get(name) else self._calls[name][0]
        called = self._names.pop(ident)
        self._calls[called].popleft()
        return ident, called


def _messages(turns: list[TurnFields]) -> list[dict[str, Any]]:
    """The messages. A result belongs to the first call of its tool, or of any, that has none yet."""
    messages: list[dict[str, Any]] = []
    waiting = _Waiting()
    count = 0
    for index, turn in enumerate(turns):
        if turn.images:
            raise refused(f"messages[{index}].images", "images are not supported by this model")
        message: dict[str, Any] = {"role": turn.role, "content": turn.content or ""}
        if turn.thinking:
            message["reasoning_content"] = turn.thinking
        if turn.tool_calls:
            waiting, calls = _Waiting(), []
            for call in turn.tool_calls:
                ident = f"call_{count}"
                count += 1
                waiting.add(ident, call.function.name)
                function = {"name": call.function.name, "arguments": call.function.arguments or {}}
                calls.append({"id": ident, "type": "function", "function": function})
            message["tool_calls"] = calls
        elif turn.role == "tool" and (found := waiting.take(turn.tool_name)) is not None:
            ident, name = found
            message |= {"tool_call_id": ident, "name": turn.tool_name or name}
        messages.append(message)
    return messages
