"""Templates that know no tools: the system message describes them and asks for Hermes' syntax."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rustllm.chat.messages import Message
from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.tools.descriptor import ToolFormat
from rustllm.chat.tools.hermes import CALLS

GENERIC = ToolFormat(name="Generic", answer=PlainAnswer(CALLS, THINK), shows_tools=False)

_LEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query. "
    "These are the functions, one a line, with JSON schemas of their arguments:\n<tools>\n"
)
_TAIL = (
    "\n</tools>\n\nTo call a function, answer with its name and arguments as a JSON object in tags:\n"
    '<tool_call>\n{"name": "function name", "arguments": {"argument": "value"}}\n</tool_call>'
)


def describe(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages with the tools in the system message, and with calls and results as text."""
    described = [_as_text(message) for message in messages]
    if not tools:
        return described
    lines = "\n".join(json.dumps(tool.get("function"), ensure_ascii=False) for tool in tools)
    text = _LEAD + lines + _TAIL
    if described and described[0]["role"] in ("system", "developer"):
        first = described[0]
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *described[1:]]
    return [{"role": "system", "content": text}, *described]


def _as_text(message: Message) -> Message:
    if message["role"] in ("tool", "function"):
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    texts = [_call_text(call["function"]) for call in calls]
    content = "\n".join([*([message["content"]] if message["content"] else []), *texts])
    return {**{key: value for key, value in message.items() if key != "tool_calls"}, "content": content}


def _call_text(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {text or "{}"}}}\n</tool_call>'
