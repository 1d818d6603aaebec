"""Chat messages as clients send them, checked and normalized for templates."""

from __future__ import annotations

from typing import Any

from rustllm.chat.media import unsupported

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

Message = dict[str, Any]


class MessageError(ValueError):
    """A message is not what a chat can hold; `param` is its place in the request."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


def parse_messages(value: object) -> list[Message]:
    """Checks a request's `messages` and joins text parts by line breaks.

    Raises MessageError that names the place, what is there and what is allowed.
    """
    if not isinstance(value, list):
        raise MessageError("messages", f"{_kind(value)} is not a list of messages")
    if not value:
        raise MessageError("messages", "the list is empty; at least one message is needed")
    last = len(value) - 1
    return [_parse_message(message, f"messages[{index}]", index == last) for index, message in enumerate(value)]


def _parse_message(value: object, place: str, is_last: bool) -> Message:
    if not isinstance(value, dict):
        raise MessageError(place, f"{_kind(value)} is not a message; expected an object with role and content")
    role = value.get("role")
    if not isinstance(role, str):
        raise MessageError(f"{place}.role", f"{_kind(role)} is not a role; expected a string")
    if role not in ROLES:
        raise MessageError(f"{place}.role", f"{role[:40]!r} is unknown; allowed: {', '.join(ROLES)}")
    message = dict(value)
    content = value.get("content")
    if content is None:
        if not value.get("tool_calls") and "reasoning_content" not in value:
            raise MessageError(f"{place}.content", "it is missing; expected a string or a list of parts")
        message["content"] = ""
    else:
        # The parts of an answer that is to be continued are paragraphs, as llama-server joins them.
        joint = "\n\n" if is_last and role == "assistant" else "\n"
        message["content"] = _parse_content(content, f"{place}.content", joint)
    _check_tool_calls(value.get("tool_calls"), f"{place}.tool_calls")
    _check_texts(value, ("name", "reasoning_content", "tool_call_id"), place)
    return message


def _parse_content(content: object, place: str, joint: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MessageError(place, f"{_kind(content)} is not content; expected a string or a list of parts")
    return joint.join(_parse_part(part, f"{place}[{index}]") for index, part in enumerate(content))


def _parse_part(part: object, place: str) -> str:
    if not isinstance(part, dict):
        raise MessageError(place, f"{_kind(part)} is not a content part; expected an object with a type")
    kind = part.get("type")
    if kind != "text":
        raise MessageError(f"{place}.type", f"{unsupported(kind)}; supported: 'text'")
    text = part.get("text")
    if not isinstance(text, str):
        raise MessageError(f"{place}.text", f"{_kind(text)} is not a text; expected a string")
    return text


def _check_tool_calls(calls: object, place: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise MessageError(place, f"{_kind(calls)} is not a list of tool calls")
    for index, call in enumerate(calls):
        if not isinstance(call, dict):
            raise MessageError(f"{place}[{index}]", "expected an object with a function")
        if not isinstance(call.get("function"), dict):
            raise MessageError(f"{place}[{index}].function", f"{_kind(call.get('function'))} is no function")
        _check_texts(call, ("id", "type"), f"{place}[{index}]")
        function = call["function"]
        if not isinstance(function.get("name"), str):
            raise MessageError(f"{place}[{index}].function.name", "expected a string")
        arguments = function.get("arguments")
        if not isinstance(arguments, (str, dict, type(None))):
            message = f"{_kind(arguments)} is not a call's arguments; expected a string or an object"
            raise MessageError(f"{place}[{index}].function.arguments", message)


def _check_texts(value: dict[str, Any], names: tuple[str, ...], place: str) -> None:
    """Fields that are texts where they are there."""
    for name in names:
        if not isinstance(value.get(name), (str, type(None))):
            raise MessageError(f"{place}.{name}", f"{_kind(value[name])} is not a text; expected a string")


def _kind(value: object) -> str:
    """What a JSON value is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return repr(value)[:40]
    return {"str": "a string", "list": "a list", "dict": "an object"}.get(type(value).__name__, "this")
