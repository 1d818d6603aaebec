"""Grammars for answers, in llguidance's Lark dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rustllm.chat.tool import ToolError

#: Bytes of all schemas of a grammar. Those of arguments have the definitions of their tool each, so that a body that
#: is allowed could have many times its size in them.
MAX_SCHEMA_BYTES = 64 << 20

#: Splits a text into its special tokens and the text between them.
Split = Callable[[str], list[str | int]]


class Lark:
    """A grammar that grows rule by rule. Expressions are strings."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._rules: dict[str, str] = {}
        #: (name, JSON, field, strict), as the engine takes them.
        self.schemas: list[tuple[str, str, str, bool]] = []
        self._schema_bytes = 0
        #: Keywords of schemas that this grammar does not enforce, by their place in the request.
        self.ignored: list[str] = []

    def source(self, start: str) -> str:
        """The whole text."""
        return "\n".join([f"start: {start}", *(f"{head}: {body}" for head, body in self._rules.items()), ""])

    def rule(self, expression: str, attributes: str = "") -> str:
        """A rule of its own for an expression; its name."""
        name = f"r{len(self._rules)}"
        self._rules[name + attributes] = expression
        return name

    def text(self, text: str) -> str:
        """Exactly this text, its special tokens as tokens."""
        parts = self._split(text)
        return " ".join(f"<[{part}]>" if isinstance(part, int) else _quoted(part) for part in parts)

    def schema(self, schema: Mapping[str, Any], place: str, strict: bool) -> str:
        """A JSON value. Raises ToolError."""
        name = f"s{len(self.schemas)}"
        text = json.dumps(schema)
        self._schema_bytes += len(text)
        if self._schema_bytes > MAX_SCHEMA_BYTES:
            message = "it and what is before it have too many bytes, where definitions count for each argument"
            raise ToolError(place, f"{message}; allowed: up to {MAX_SCHEMA_BYTES}")
        self.schemas.append((name, text, place, strict))
        return f"@{name}"

    def until(
        self, end: str, length: tuple[int, int | None] = (0, None), *, line: bool = False, also: Sequence[str] = ()
    ) -> str:
        """Text of some length in characters, and then the first `end`; with `line`, a line break may
        stand between them that does not count. `also`: regular expressions of the whole text."""
        parts = self._split(end)
        others = "".join(f" & /({each}){chr(92) + 'n?' if line else ''}/" for each in also)
        if isinstance(parts[0], int):
            # Special tokens are no text, so any text ends before one. A lexeme must not be empty.
            text = f"/{_text((max(length[0], 1), length[1]), line)}/"
            text = self._terminal(text + others) if others else self.rule(text)
            return f"{text}{'?' if length[0] == 0 and not others else ''} {self.text(end)}"
        rest = "".join(f" <[{part}]>" if isinstance(part, int) else f" {_quoted(part)}" for part in parts[1:])
        text = f"/{_text(length, line)}/"
        if others:
            # What is still to fit must not run past the end.
            text = self._terminal(f"{text}{others} & ~/(?s:.*){_literal(parts[0])}(?s:.*)/")
        return self.rule(text, f"[suffix={_quoted(parts[0])}]") + rest

    def _terminal(self, expression: str) -> str:
        """A terminal of its own, whose expressions may be joined by `&`."""
        name = f"T{len(self._rules)}"
        self._rules[name] = expression
        return name

    def one_of(self, expressions: list[str]) -> str:
        """Any of them."""
        return expressions[0] if len(expressions) == 1 else self.rule(" | ".join(expressions))


def _text(length: tuple[int, int | None], line: bool) -> str:
    """A regular expression for text of this length, and a line break behind it where `line`."""
    least, most = length
    if not line or (least == 0 and most is None):
        return f"(?s:.{{{least},{'' if most is None else most}}})" if (least, most) != (0, None) else "(?s:.*)"
    if most == 0:
        return r"\n?"
    # Its last character is none that would be taken for the line break.
    inner = f"(?s:.{{{max(least - 1, 0)},{'' if most is None else most - 1}}})[^\\n]"
    return f"({inner})?\\n?" if least == 0 else f"{inner}\\n?"


def _literal(text: str) -> str:
    """A text in a regular expression."""
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"\\x{{{ord(match[0]):x}}}", text)


def _quoted(text: str) -> str:
    """A literal; Lark's are JSON's strings, except that it has no pairs of surrogates."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
