"""Answers as OpenAI's messages and deltas: content, reasoning, tool calls."""

from __future__ import annotations

from typing import Any

from rustllm.chat.plan import Plan
from rustllm.chat.syntax.events import Answer, CallArguments, CallStart, Content, Event, Reasoning


def message_json(answer: Answer) -> dict[str, Any]:
    """The message of a choice; its content is null where it only calls."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["content"] = answer.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    return message


class ChoiceDeltas:
    """The deltas of one choice's stream."""

    def __init__(self, plan: Plan | None) -> None:
        # In a stream the older format leaves thoughts in the text.
        raw = plan is not None and plan.reasoning in ("none", "deepseek-legacy")
        self._reader = None if plan is None else plan.reader(raw_thoughts=raw)
        self.has_calls = False

    def push(self, text: str, *, last: bool) -> list[dict[str, Any]]:
        """The deltas that a piece of text leads to; with `last`, of all that was held back, too."""
        if self._reader is None:
            return [{"content": text}] if text else []
        events = self._reader.push(text) if text else []
        if last:
            events += self._reader.end()
        return [self._delta(event) for event in events]

    def _delta(self, event: Event) -> dict[str, Any]:
        if isinstance(event, Content):
            return {"content": event.text}
        if isinstance(event, Reasoning):
            return {"reasoning_content": event.text}
        if isinstance(event, CallArguments):
            return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
        assert isinstance(event, CallStart)
        self.has_calls = True
        function = {"name": event.name, "arguments": ""}
        return {"tool_calls": [{"index": event.index, "id": event.id, "type": "function", "function": function}]}
