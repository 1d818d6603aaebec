"""From Anthropic's turns of blocks to the messages of a chat."""

from __future__ import annotations

from typing import Any

from rustllm.chat.media import unsupported
from rustllm.invalid import shown
from rustllm.server.errors import ApiError, dumps

Json = dict[str, Any]

#: What each role's turns may hold.
_ALLOWED = {
    "user": ("text", "document", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}


def refused(param: str, message: str) -> ApiError:
    """A 400 that names its place."""
    return ApiError(400, f"{param}: {message}", param=param)


def system_messages(system: object) -> list[Json]:
    """The system prompt as a message, if there is one."""
    if system is None or system == "" or system == []:
        return []
    return [{"role": "system", "content": _texts(system, "system")}]


def chat_messages(turns: object) -> list[Json]:
    """The messages of all turns. Raises ApiError that names the place."""
    if not isinstance(turns, list) or not turns:
        raise refused("messages", f"{shown(turns, 40)} is not a list of messages with at least one of them")
    messages: list[Json] = []
    names: dict[str, str] = {}
    for index, turn in enumerate(turns):
        place = f"messages[{index}]"
        if not isinstance(turn, dict):
            raise refused(place, f"{shown(turn, 40)} is not a message; expected an object with role and content")
        role = turn.get("role")
        if not isinstance(role, str) or role not in _ALLOWED:
            raise refused(f"{place}.role", f"{shown(role, 40)} is unknown; allowed: 'user', 'assistant', 'system'")
        blocks = _blocks(turn.get("content"), role, f"{place}.content")
        if role == "assistant":
            messages.append(_assistant(blocks, names))
        else:
            messages += _others(blocks, role, names)
    return messages


def _blocks(content: object, role: str, place: str) -> list[tuple[str, Json]]:
    """The blocks of a turn, each with its place."""
    if isinstance(content, str):
        return [(place, {"type": "text", "text": content})]
    if not isinstance(content, list) or not content:
        raise refused(place, f"{shown(content, 40)} is not content; expected a string or a list of blocks")
    blocks = []
    for index, block in enumerate(content):
        at = f"{place}[{index}]"
        if not isinstance(block, dict):
            raise refused(at, f"{shown(block, 40)} is not a content block; expected an object with a type")
        kind = block.get("type")
        if kind not in _ALLOWED[role]:
            allowed = ", ".join(map(repr, _ALLOWED[role]))
            raise refused(f"{at}.type", f"{unsupported(kind)}; allowed with the role {role}: {allowed}")
        blocks.append((at, block))
    return blocks


def _assistant(blocks: list[tuple[str, Json]], names: dict[str, str]) -> Json:
    texts, thoughts, calls = [], [], []
    for place, block in blocks:
        if block["type"] == "text":
            texts.append(_string(block, "text", place))
        elif block["type"] == "thinking":
            thoughts.append(_string(block, "thinking", place))
        elif block["type"] == "tool_use":
            ident, name = _string(block, "id", place), _string(block, "name", place)
            given = block.get("input")
            if not isinstance(given, dict):
                raise refused(f"{place}.input", f"{shown(given, 40)} is not an input; expected an object")
            names[ident] = name
            function = {"name": name, "arguments": dumps(given).decode()}
            calls.append({"id": ident, "type": "function", "function": function})
    message: Json = {"role": "assistant", "content": "\n\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _others(blocks: list[tuple[str, Json]], role: str, names: dict[str, str]) -> list[Json]:
    """A user's turn: results are messages of their own, in the order in which they stand."""
    messages: list[Json] = []
    texts: list[str] = []

    def flush() -> None:
        if texts:
            messages.append({"role": role, "content": "\n".join(texts)})
            texts.clear()

    for place, block in blocks:
        if block["type"] != "tool_result":
            texts.append(_document(block, place) if block["type"] == "document" else _string(block, "text", place))
            continue
        flush()
        ident = _string(block, "tool_use_id", place)
        content = block.get("content")
        text = "" if content is None else _texts(content, f"{place}.content")
        named = {"name": names[ident]} if ident in names else {}
        messages.append({"role": "tool", "tool_call_id": ident, "content": text, **named})
    flush()
    return messages


def _texts(value: object, place: str) -> str:
    """A text, or blocks of text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise refused(place, f"{shown(value, 40)} is not content; expected a string or a list of text blocks")
    texts = []
    for index, block in enumerate(value):
        at = f"{place}[{index}]"
        kind = block.get("type") if isinstance(block, dict) else block
        if not isinstance(block, dict) or kind != "text":
            raise refused(f"{at}.type", f"{unsupported(kind)}; allowed: 'text'")
        texts.append(_string(block, "text", at))
    return "\n".join(texts)


def _document(block: Json, place: str) -> str:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind != "text":
        raise refused(f"{place}.source.type", f"{shown(kind, 40)} is not supported; allowed: 'text'")
    return _string(source, "data", f"{place}.source")


def _string(block: Json, name: str, place: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise refused(f"{place}.{name}", f"{shown(value, 40)} is not a text; expected a string")
    return value
