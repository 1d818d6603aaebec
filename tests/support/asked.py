"""Streams in flight, and the whole answers that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.apis import COMPLETION, Api, Usage
from tests.support.crowd import Stream
from tests.support.server import Server, as_messages


@dataclass
class Answers:
    """Whole answers, which all others to the same requests must equal."""

    server: Server
    #: Fields of all requests, such as the model's name.
    fields: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[str, str, int], tuple[str, Usage]] = field(default_factory=dict)

    def ask(self, api: Api, text: str, n: int) -> tuple[str, Usage]:
        """A whole answer with its counts, which must add up."""
        answer = self.server.post(api.path, {**api.body(text, n), **self.fields})
        assert answer.status == 200, answer.body
        usage = api.usage(answer.body)
        assert usage is not None
        assert usage.prompt == self.n_tokens(api, text)
        assert usage.answer == n or (usage.answer < n and not api.ignores_eos)
        return api.text(answer.body), usage

    def first(self, api: Api, text: str, n: int) -> tuple[str, Usage]:
        """The first whole answer that there was."""
        key = (api.path, text, n)
        if key not in self.known:
            self.known[key] = self.ask(api, text, n)
        return self.known[key]

    def n_tokens(self, api: Api, text: str) -> int:
        """The tokens of a prompt, as the server counts them without an answer."""
        if api.is_chat:
            body = {"messages": as_messages(text), **self.fields}
            return int(self.server.post("/v1/messages/count_tokens", body).body["input_tokens"])
        return len(self.server.post("/tokenize", {"content": text, "add_special": True, **self.fields}).body["tokens"])


class Asked:
    """A stream with what it was asked for."""

    def __init__(self, server: Server, api: Api, text: str, n: int, **fields: Any) -> None:
        self.text, self.n, self.fields = text, n, fields
        self.stream = Stream(server, api, text, n, **fields)

    @property
    def slot(self) -> int | None:
        """The slot that it has to run in."""
        return self.fields.get("id_slot")

    def finish(self, answers: Answers) -> None:
        """Reads it to its end, and compares it with a whole answer."""
        stream = self.stream
        stream.read()
        assert stream.has_ended, "it ended without its last event"
        assert (stream.text, stream.usage) == answers.first(stream.api, self.text, self.n)
        if stream.api is COMPLETION:
            counts = [event["tokens_predicted"] for event in stream.events[:-1]]
            assert counts == sorted({*counts}), "tokens out of order"
        stream.close()
