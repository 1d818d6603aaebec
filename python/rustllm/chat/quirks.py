"""What llama-server does to a chat beside what the template says.

A template is recognised by texts of its source, never by a model's name: whoever writes the same
format gets the same treatment. `variables` are those that every template sees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rustllm.chat.messages import Message, MessageError

#: What is left of a character beyond 16 bits whose other half is missing.
_SURROGATE = re.compile("[\\ud800-\\udfff]")

#: A render of a short chat: (generation prompt wanted, thinking enabled) to the text.
Probe = Callable[[bool, bool], str]


@dataclass(frozen=True)
class Quirk:
    """A change of each message, for templates that have all of one list of texts and none of another."""

    reason: str
    change: Callable[[Message], Message]
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def concerns(self, source: str) -> bool:
        """Whether a template with this source is meant."""
        return all(text in source for text in self.has) and not any(text in source for text in self.lacks)


def _developer_to_system(message: Message) -> Message:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _trimmed(message: Message) -> Message:
    texts = {key: message[key] for key in ("content", "reasoning_content") if isinstance(message.get(key), str)}
    return {**message, **{key: text.strip() for key, text in texts.items()}}


def _reasoning_as_thinking(message: Message) -> Message:
    reasoning = message.get("reasoning_content")
    return {**message, "thinking": reasoning} if isinstance(reasoning, str) and reasoning else message


QUIRKS = (
    Quirk("Only the channel format knows the role.", _developer_to_system, lacks=("<|channel|>",)),
    Quirk(
        "Blanks around earlier answers drive the StepFun models into endless reasoning.",
        _trimmed,
        has=("You have access to the following functions in JSONSchema format",),
    ),
    Quirk("The channel format calls it so.", _reasoning_as_thinking, has=("<|channel|>",)),
    Quirk("LFM2 calls it so.", _reasoning_as_thinking, has=("<|tool_list_start|>", "<|tool_list_end|>")),
    Quirk("LFM2.5 calls it so.", _reasoning_as_thinking, has=("List of tools: [",), lacks=("<|tool_list_start|>",)),
)


def quirks_of(source: str) -> tuple[Quirk, ...]:
    """The rows that concern a template."""
    return tuple(quirk for quirk in QUIRKS if quirk.concerns(source))


def apply_quirks(quirks: Sequence[Quirk], messages: Sequence[Message]) -> list[Message]:
    """The messages as the template gets them; those passed in stay as they are."""
    changed = list(messages)
    for quirk in quirks:
        changed = [quirk.change(message) for message in changed]
    return changed


def variables(kwargs: Mapping[str, Any], thinks: bool, now: datetime) -> dict[str, Any]:
    """The variables beside messages and tools; those of the request win.

    Earlier reasoning is kept unless `preserve_reasoning` is false; templates have four names for
    that, of which two mean the opposite of the others. The effort has two names.
    """
    keeps = kwargs.get("preserve_reasoning", True) is not False
    effort = {"reasoning_strength": kwargs["reasoning_effort"]} if "reasoning_effort" in kwargs else {}
    return {
        "enable_thinking": thinks,
        "preserve_reasoning": keeps,
        "preserve_thinking": keeps,
        "clear_thinking": not keeps,
        "truncate_history_thinking": not keeps,
        "drop_thinking": not keeps,
        "datetime": now.strftime("%b %d %Y"),
        "date_string": now.strftime("%d %b %Y"),
        **effort,
        **kwargs,
    }


def thinks_by_default(source: str, probe: Probe) -> bool:
    """Whether `enable_thinking` is true unless a request says otherwise.

    It is false where the template shows no sign of a reasoning part in answers: it reads none from
    earlier ones, and the variable does not change how the next answer begins.
    """
    if "enable_thinking" not in source or "reasoning_content" in source:
        return True
    try:
        return _opening(probe, True) != _opening(probe, False)
    except ValueError:
        return True


def takes_objects(source: str, render: Callable[[list[Message]], str]) -> bool:
    """Whether a template reads the arguments of tool calls as objects rather than as JSON text.

    Clients send text, and many templates take the arguments apart. One that only prints an object
    would print it as Python does, which no model was trained on.
    """
    if "tool_calls" not in source:
        return False
    call = {"id": "call00001", "type": "function", "function": {"name": "test", "arguments": {"key": "a value"}}}
    messages: list[Message] = [
        {"role": "user", "content": "test"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "test", "tool_call_id": "call00001"},
        {"role": "assistant", "content": "test"},
        {"role": "user", "content": "test"},
    ]
    try:
        text = render(messages)
    except ValueError:
        return False
    return "a value" in text and "{'key'" not in text


def fit_arguments(messages: Sequence[Message], as_objects: bool) -> list[Message]:
    """The messages with the arguments of tool calls in the form that the template reads.

    Raises MessageError for a text that should be an object and is not JSON.
    """
    fitted: list[Message] = []
    for index, message in enumerate(messages):
        if calls := message.get("tool_calls"):
            place = f"messages[{index}].tool_calls"
            calls = [_fit_call(call, as_objects, f"{place}[{at}]") for at, call in enumerate(calls)]
            message = {**message, "tool_calls": calls}
        fitted.append(message)
    return fitted


def _fit_call(call: Mapping[str, Any], as_objects: bool, place: str) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    if as_objects and isinstance(arguments, str):
        try:
            arguments = _parsed(arguments)
        except (ValueError, RecursionError) as error:
            raise MessageError(f"{place}.function.arguments", f"{arguments[:40]!r} is not JSON ({error})") from error
    elif not as_objects and arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    else:
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}


def _parsed(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also for what Python reads and UTF-8 or JSON does not have."""
    value = json.loads(text, parse_constant=_refuse)
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("half of a surrogate pair is no character")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _opening(probe: Probe, thinking: bool) -> str:
    """What the generation prompt adds to a chat."""
    return probe(True, thinking).removeprefix(probe(False, thinking))
