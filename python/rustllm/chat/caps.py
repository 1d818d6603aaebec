"""What a chat template can show a model, found out by rendering short chats with it.

The names are llama-server's `chat_template_caps`. A text counts as shown when it is in the prompt;
a chat that the template refuses shows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rustllm.chat.messages import Message

#: Renders messages with tools and further variables. Raises ValueError where the template refuses.
Render = Callable[[Sequence[Message], Sequence[Mapping[str, Any]], Mapping[str, Any]], str]

#: Texts that no template contains.
_TEXT, _KEY, _FIRST, _SECOND = "quux text", "quux_key", "quux one", "quux two"

_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "quux_tool",
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "A text."}},
            "required": [_KEY],
        },
    },
}

#: What templates are known to tell apart; some know only one of them.
_EFFORTS = ("none", "low", "high", "max")


def capabilities(render: Render) -> dict[str, bool]:
    """What a template supports, by llama-server's names."""

    def shown(*messages: Message, tools: Sequence[Mapping[str, Any]] = (), **variables: Any) -> str:
        try:
            return render(messages, tools, variables)
        except ValueError:
            return ""

    def calls(*arguments: object) -> str:
        return shown(*_chat_with_calls(arguments), tools=[_TOOL])

    question = _user("Hello")
    as_objects = ({_KEY: _FIRST}, {_KEY: _SECOND})
    # Some templates take the arguments of calls as JSON text only, some refuse more than one call.
    as_texts = tuple(json.dumps(value) for value in as_objects)
    both = (calls(*as_objects), calls(*as_texts))
    one = (calls(as_objects[0]), calls(as_texts[0]))
    answer = {"role": "assistant", "content": "Hi", "reasoning_content": _TEXT}
    parts = shown(_user([{"type": "text", "text": _TEXT}]))
    return {
        "supports_object_arguments": _FIRST in both[0] + one[0] and not _is_python(both[0] + one[0]),
        "supports_parallel_tool_calls": any(_FIRST in text and _SECOND in text for text in both),
        "supports_preserve_reasoning": _TEXT in shown(question, answer, question),
        "supports_reasoning_effort": any(
            text not in ("", shown(question)) for text in (shown(question, reasoning_effort=e) for e in _EFFORTS)
        ),
        "supports_string_content": _TEXT in shown(_user(_TEXT)),
        "supports_system_role": _TEXT in shown({"role": "system", "content": _TEXT}, question),
        "supports_tool_calls": any(_FIRST in text for text in (*both, *one)),
        "supports_tools": _KEY in shown(question, tools=[_TOOL]),
        "supports_typed_content": _TEXT in parts and "'text'" not in parts and '"text"' not in parts,
    }


def _user(content: object) -> Message:
    return {"role": "user", "content": content}


def _chat_with_calls(arguments: Sequence[object]) -> list[Message]:
    """A chat in which the model called the tool with each of `arguments`."""
    calls = [
        {"id": f"call0000{index}", "type": "function", "function": {"name": "quux_tool", "arguments": value}}
        for index, value in enumerate(arguments)
    ]
    return [
        _user("Hello"),
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "name": "quux_tool", "content": "Done", "tool_call_id": call["id"]} for call in calls),
        {"role": "assistant", "content": "Hi"},
        _user("Hello"),
    ]


def _is_python(text: str) -> bool:
    """Whether an object was printed as Python writes it, which no model was trained on."""
    return f"{{'{_KEY}'" in text
