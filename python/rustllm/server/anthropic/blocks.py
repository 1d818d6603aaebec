"""The content blocks of an answer: as they grow, and whole."""

from __future__ import annotations

from typing import Any

from rustllm.chat.syntax.events import CallArguments, CallStart, Content, Event, Reasoning
from rustllm.server.pieces import parse_arguments

Json = dict[str, Any]


class Blocks:
    """Takes an answer's events, tells those of the stream, and keeps the content."""

    def __init__(self) -> None:
        #: The blocks that are complete.
        self.content: list[Json] = []
        self._open: Json | None = None
        #: The text of the open block in parts, or the JSON text of its input.
        self._texts: list[str] = []

    def take(self, event: Event) -> list[Json]:
        """The events that tell of this one."""
        if isinstance(event, CallStart):
            block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
            return [*self.close(), self._start(block)]
        if isinstance(event, CallArguments):
            return [self._delta(event.text, "input_json_delta", "partial_json")]
        kind, start = ("text", _TEXT) if isinstance(event, Content) else ("thinking", _THINKING)
        assert isinstance(event, (Content, Reasoning))
        opening = []
        if self._open is None or self._open["type"] != kind:
            opening = [*self.close(), self._start(dict(start))]
        return [*opening, self._delta(event.text, f"{kind}_delta", kind)]

    def close(self) -> list[Json]:
        """Completes the open block, if there is one."""
        block, index, text = self._open, len(self.content), "".join(self._texts)
        if block is None:
            return []
        events = [{"type": "content_block_stop", "index": index}]
        if block["type"] == "tool_use":
            block["input"] = parse_arguments(text)
        else:
            block[block["type"]] = text
        if block["type"] == "thinking":
            signature = {"type": "signature_delta", "signature": ""}
            events.insert(0, {"type": "content_block_delta", "index": index, "delta": signature})
        self.content.append(block)
        self._open = None
        return events

    def _start(self, block: Json) -> Json:
        self._open, self._texts = block, []
        return {"type": "content_block_start", "index": len(self.content), "content_block": dict(block)}

    def _delta(self, text: str, kind: str, name: str) -> Json:
        self._texts.append(text)
        return {"type": "content_block_delta", "index": len(self.content), "delta": {"type": kind, name: text}}


_TEXT: Json = {"type": "text", "text": ""}
_THINKING: Json = {"type": "thinking", "thinking": "", "signature": ""}
