"""From the items of an input to the messages of a chat."""

from __future__ import annotations

from typing import Any

from rustllm.chat.media import unsupported
from rustllm.invalid import shown
from rustllm.server.errors import ApiError

Json = dict[str, Any]

_ROLES = ("user", "assistant", "system", "developer")
_KINDS = ("message", "function_call", "function_call_output", "reasoning")
#: Parts whose text counts.
_PARTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


def refused(param: str, message: str) -> ApiError:
    """A 400 that names its place."""
    return ApiError(400, f"{param}: {message}", param=param)


class _Chat:
    """Messages as they come together: a thought, a text and calls in a row are one message."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        #: What each message was made of; see `message_places`.
        self.places: list[dict[str, str]] = []
        self.names: dict[str, str] = {}
        self._turn: Json = {}
        self._turn_places: dict[str, str] = {}

    def add(self, message: Json, place: str, **fields: str) -> None:
        """Adds a message that is nothing of the assistant's, from the item at `place`; `fields` says where those are
        that are called otherwise there."""
        self.flush()
        self.messages.append(message)
        self.places.append({"": place, **fields})

    def assistant(self, name: str, value: Any, place: str, part: str) -> None:
        """Adds a part of the assistant's turn from the item at `place`: `reasoning_content`, `content` or a call, which
        is at `part`."""
        if name != "tool_calls":
            if name in self._turn or "tool_calls" in self._turn or (name == "reasoning_content" and self._turn):
                self.flush()
            self._turn[name] = value
        else:
            calls = self._turn.setdefault(name, [])
            name = f"tool_calls[{len(calls)}]"
            calls.append(value)
        self._turn_places.setdefault("", place)
        self._turn_places[name] = part

    def flush(self) -> None:
        """Ends the assistant's turn."""
        if self._turn:
            self.messages.append({"role": "assistant", "content": "", **self._turn})
            self.places.append(self._turn_places)
            self._turn, self._turn_places = {}, {}


def chat_messages(given: object) -> list[Json]:
    """The messages of an input. Raises ApiError that names the place."""
    return _chat(given).messages


def message_places(given: object) -> list[dict[str, str]]:
    """Where in an input that has messages each of them comes from: the first item that it was made of, under the empty
    text, and by field (`content`, `reasoning_content`, `tool_calls[0]`) what has another name there."""
    return _chat(given).places


def _chat(given: object) -> _Chat:
    chat = _Chat()
    if isinstance(given, str):
        chat.add({"role": "user", "content": given}, "input", content="input")
        return chat
    if not isinstance(given, list) or not given:
        raise refused("input", f"{shown(given, 40)} is no input; expected a string or a list of items")
    for index, item in enumerate(given):
        place = f"input[{index}]"
        if not isinstance(item, dict):
            raise refused(place, f"{shown(item, 40)} is not an item; expected an object")
        _add(chat, item, place)
    chat.flush()
    return chat


def _add(chat: _Chat, item: Json, place: str) -> None:
    kind = item.get("type") or "message"
    if kind == "item_reference":
        raise refused(f"{place}.type", "items are not stored, so they cannot be referred to; send the item itself")
    if kind not in _KINDS:
        raise refused(f"{place}.type", f"{shown(kind, 40)} is not supported; allowed: {', '.join(map(repr, _KINDS))}")
    if kind == "function_call":
        ident, name = _string(item, "call_id", place), _string(item, "name", place)
        chat.names[ident] = name
        function = {"name": name, "arguments": _string(item, "arguments", place)}
        chat.assistant("tool_calls", {"id": ident, "type": "function", "function": function}, place, place)
    elif kind == "function_call_output":
        ident = _string(item, "call_id", place)
        named = {"name": chat.names[ident]} if ident in chat.names else {}
        text = _text(item.get("output"), f"{place}.output")
        message = {"role": "tool", "tool_call_id": ident, "content": text, **named}
        chat.add(message, place, content=f"{place}.output", tool_call_id=f"{place}.call_id")
    elif kind == "reasoning":
        # Where the thought itself is missing its summary is all that is left of it.
        name = "content" if item.get("content") else "summary"
        part = f"{place}.{name}"
        chat.assistant("reasoning_content", _text(item.get(name) or [], part), place, part)
    else:
        role = item.get("role")
        if role not in _ROLES:
            raise refused(f"{place}.role", f"{shown(role, 40)} is unknown; allowed: {', '.join(map(repr, _ROLES))}")
        part = f"{place}.content"
        text = _text(item.get("content"), part)
        if role == "assistant":
            chat.assistant("content", text, place, part)
        else:
            chat.add({"role": role, "content": text}, place)


def _text(content: object, place: str) -> str:
    """The text of a content: a string, or parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise refused(place, f"{shown(content, 40)} is not content; expected a string or a list of parts")
    texts = []
    for index, part in enumerate(content):
        at = f"{place}[{index}]"
        if not isinstance(part, dict):
            raise refused(at, f"{shown(part, 40)} is not a content part; expected an object with a type")
        kind = part.get("type")
        if kind == "refusal":
            texts.append(_string(part, "refusal", at))
        elif kind in _PARTS:
            texts.append(_string(part, "text", at))
        else:
            allowed = ", ".join(map(repr, (*_PARTS, "refusal")))
            raise refused(f"{at}.type", f"{unsupported(kind)}; allowed: {allowed}")
    return "\n".join(texts)


def _string(item: Json, name: str, place: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise refused(f"{place}.{name}", f"{shown(value, 40)} is not a text; expected a string")
    return value
