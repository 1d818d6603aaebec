"""The items of a response: as they grow, and whole."""

from __future__ import annotations

import secrets
from typing import Any

from rustllm.chat.syntax.events import CallArguments, CallStart, Content, Event, Reasoning
from rustllm.server.written import Items

Json = dict[str, Any]


class Output:
    """Takes an answer's events, tells those of the stream, and keeps the items."""

    def __init__(self) -> None:
        #: The items that are complete.
        self.items: list[Json] = []
        self._thoughts: list[str] = []
        self._open: Json | None = None
        #: The text of the open item, in parts.
        self._texts: list[str] = []

    @property
    def thoughts(self) -> str:
        """All thoughts."""
        return "".join(self._thoughts)

    @property
    def _text(self) -> str:
        return "".join(self._texts)

    def take(self, event: Event) -> list[Json]:
        """The events that tell of this one."""
        if isinstance(event, CallStart):
            item: Json = {"type": "function_call", "id": _new("fc"), "status": "in_progress", "call_id": event.id,
                    "name": event.name, "arguments": ""}  # fmt: skip
            return [*self.close(), self._start(item)]
        opening: list[Json] = []
        if isinstance(event, Content) and not self._is_open("message"):
            item = {"type": "message", "id": _new("msg"), "status": "in_progress", "role": "assistant", "content": []}
            opening = [*self.close(), self._start(item), self._part("added")]
        elif isinstance(event, Reasoning) and not self._is_open("reasoning"):
            item = {"type": "reasoning", "id": _new("rs"), "status": "in_progress", "summary": [], "content": []}
            opening = [*self.close(), self._start(item), self._part("added")]
        self._texts.append(event.text)
        if isinstance(event, CallArguments):
            return [self._event("function_call_arguments.delta", delta=event.text)]
        if isinstance(event, Reasoning):
            self._thoughts.append(event.text)
            return [*opening, self._event("reasoning_text.delta", content_index=0, delta=event.text)]
        return [*opening, self._event("output_text.delta", content_index=0, delta=event.text, logprobs=[])]

    def close(self, status: str = "completed", logprobs: Items | None = None) -> list[Json]:
        """Ends the open item, if there is one."""
        item = self._open
        if item is None:
            return []
        if item["type"] == "function_call":
            item["arguments"] = self._text
            kind, name = "function_call_arguments.done", item["name"]
            events = [self._event(kind, arguments=self._text, name=name)]
        else:
            texts = {"text": self._text, **({"logprobs": []} if item["type"] == "message" else {})}
            kind = "output_text.done" if item["type"] == "message" else "reasoning_text.done"
            events = [self._event(kind, content_index=0, **texts), self._part("done", logprobs)]
            item["content"] = [events[-1]["part"]]
        item["status"] = status
        events.append({"type": "response.output_item.done", "output_index": len(self.items), "item": item})
        self.items.append(item)
        self._open = None
        return events

    def _is_open(self, kind: str) -> bool:
        return self._open is not None and self._open["type"] == kind

    def _start(self, item: Json) -> Json:
        self._open, self._texts = item, []
        # The item goes on growing, the event does not.
        return {"type": "response.output_item.added", "output_index": len(self.items), "item": dict(item)}

    def _part(self, what: str, logprobs: Items | None = None) -> Json:
        part: Json = {"type": "reasoning_text", "text": self._text}
        if self._is_open("message"):
            part = {"type": "output_text", "text": self._text, "annotations": [], "logprobs": logprobs or []}
        return self._event(f"content_part.{what}", content_index=0, part=part)

    def _event(self, kind: str, **fields: Any) -> Json:
        assert self._open is not None
        place = {"item_id": self._open["id"], "output_index": len(self.items)}
        return {"type": f"response.{kind}", **place, **fields}


def _new(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"
