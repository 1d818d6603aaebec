"""How far a text is a JSON value, while the text arrives."""

from __future__ import annotations

import re

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = "0123456789abcdefABCDEF"
_DIGITS = "0123456789"

#: What may follow in a number, by the kind of its last part.
_NUMBER: dict[str, dict[str, str]] = {
    "minus": {"0": "zero", **dict.fromkeys("123456789", "int")},
    "zero": {".": "dot", "e": "e", "E": "e"},
    "int": {**dict.fromkeys(_DIGITS, "int"), ".": "dot", "e": "e", "E": "e"},
    "dot": dict.fromkeys(_DIGITS, "frac"),
    "frac": {**dict.fromkeys(_DIGITS, "frac"), "e": "e", "E": "e"},
    "e": {**dict.fromkeys(_DIGITS, "exp"), "+": "sign", "-": "sign"},
    "sign": dict.fromkeys(_DIGITS, "exp"),
    "exp": dict.fromkeys(_DIGITS, "exp"),
}
_COMPLETE = {"zero", "int", "frac", "exp"}
_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}


class JsonScan:
    """Accepts the characters of one JSON value, strictly.

    `push` takes as many as belong to it. Nothing recurses, so depth costs a list entry.
    """

    def __init__(self) -> None:
        self.is_done = False
        #: The closing brackets that are awaited.
        self._open: list[str] = []
        #: What is awaited: value, first (of a list), key, first-key, colon, next, string, number,
        #: literal.
        self._state = "value"
        self._number = ""
        self._literal = ""
        #: In a string: nothing, a backslash, or hexadecimal digits left.
        self._escape: str | int = ""
        self._is_key = False

    def push(self, text: str, at: int) -> int:
        """The end of what belongs to the value in `text` from `at` on."""
        while at < len(text) and not self.is_done:
            if self._state == "string":
                if not self._escape:
                    match = _PLAIN.match(text, at)
                    at = match.end() if match else at
                    if at == len(text):
                        break
                if not self._string(text[at]):
                    break
                at += 1
                continue
            if self._state not in ("number", "literal"):
                match = _SPACE.match(text, at)
                at = match.end() if match else at
                if at == len(text):
                    break
            elif self._state == "number" and text[at] not in _NUMBER[self._number]:
                if self._number not in _COMPLETE:
                    break
                self._value_ends()
                continue
            if not self._char(text[at]):
                break
            at += 1
        return at

    def ends_here(self) -> bool:
        """Whether the value is complete if nothing follows."""
        return self.is_done or (self._state == "number" and not self._open and self._number in _COMPLETE)

    def _value_ends(self) -> None:
        self._state = "next"
        self.is_done = not self._open

    def _string(self, char: str) -> bool:
        if self._escape == "\\":
            self._escape = 4 if char == "u" else ""
            return char in '"\\/bfnrtu'
        if isinstance(self._escape, int):
            self._escape = self._escape - 1 or ""
            return char in _HEX
        if char == "\\":
            self._escape = char
            return True
        if char != '"':
            return False
        if self._is_key:
            self._state = "colon"
        else:
            self._value_ends()
        return True

    def _char(self, char: str) -> bool:
        state = self._state
        if state == "number":
            self._number = _NUMBER[self._number][char]
            return True
        if state == "literal":
            if char != self._literal[0]:
                return False
            self._literal = self._literal[1:]
            if not self._literal:
                self._value_ends()
            return True
        if state == "colon":
            self._state = "value"
            return char == ":"
        if state in ("first-key", "first", "next") and self._open and char == self._open[-1]:
            self._open.pop()
            self._value_ends()
            return True
        if state == "next":
            self._state = "key" if self._open[-1] == "}" else "value"
            return char == ","
        if state in ("key", "first-key"):
            self._state, self._is_key, self._escape = "string", True, ""
            return char == '"'
        return self._value(char)

    def _value(self, char: str) -> bool:
        if char == '"':
            self._state, self._is_key, self._escape = "string", False, ""
        elif char == "{":
            self._open.append("}")
            self._state = "first-key"
        elif char == "[":
            self._open.append("]")
            self._state = "first"
        elif char in _LITERALS:
            self._state, self._literal = "literal", _LITERALS[char]
        elif char == "-" or char in _DIGITS:
            self._state = "number"
            self._number = {"-": "minus", "0": "zero"}.get(char, "int")
        else:
            return False
        return True
