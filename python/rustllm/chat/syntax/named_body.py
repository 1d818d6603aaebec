"""Calls written as a name and a JSON object."""

from __future__ import annotations

import string
from dataclasses import dataclass

from rustllm.chat.syntax.calls import Head
from rustllm.chat.syntax.json_body import named
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tool


@dataclass(frozen=True)
class CallId:
    """An id that the model writes behind a call's name."""

    lead: str
    #: Characters of the id, and how many of them.
    chars: str
    least: int
    most: int
    #: Whether models always write one.
    always: bool = True
    #: The id that clients get, of the name and the text.
    form: str = "{text}"

    def lark(self, lark: Lark) -> str:
        """Its grammar, empty where models need not write one."""
        if not self.always:
            return ""
        kinds = "0-9" if self.chars == string.digits else "a-zA-Z0-9"
        return f"{lark.text(self.lead)} /[{kinds}]{{{self.least},{self.most}}}/"


@dataclass(frozen=True)
class NamedBody:
    """before NAME [id] after {…} end"""

    after: str
    before: str = ""
    end: str = ""
    id: CallId | None = None

    def starts(self) -> tuple[str, ...]:
        """What is before the name."""
        return (self.before,)

    def lark(self, lark: Lark, tool: Tool, *, started: bool = False) -> str:
        """The name, then the object."""
        lead = "" if started else self.before
        if self.id is not None and self.id.always:
            parts = [lark.text(lead + tool.name), self.id.lark(lark), lark.text(self.after)]
        else:
            parts = [lark.text(lead + tool.name + self.after)]
        parts += [lark.schema(tool.parameters, tool.place, tool.strict), lark.text(self.end)]
        return " ".join(part for part in parts if part)

    def head(self, turn: Turn) -> Steps[Head | None]:
        """Reads up to the object's bracket."""
        reader = turn.reader
        if not (yield from reader.words(self.before)):
            return None
        name = yield from named(reader, list(turn.tools))
        if name is None:
            return None
        call_id = None
        if self.id is not None and (yield from reader.take(self.id.lead)):
            text = yield from reader.chars(self.id.chars, self.id.most)
            if len(text) < self.id.least:
                return None
            call_id = self.id.form.format(name=name, text=text)
        if not (yield from reader.words(self.after)):
            return None
        yield from reader.space()
        if (yield from reader.peek()) != "{":
            return None
        turn.begin_call(name, call_id)
        return Head(name)

    def rest(self, turn: Turn, head: Head) -> Steps[bool]:
        """Reads the object."""
        complete = yield from turn.reader.json(turn.arguments)
        return complete and (yield from turn.reader.framing(self.end))
