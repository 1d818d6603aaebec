"""What `pattern` and `format` say of a text without quotes, as regular expressions of whole texts."""

from __future__ import annotations

import re

#: Characters of a pattern; longer ones are not enforced.
MAX_PATTERN = 2000

_YEAR = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DAY = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
_DATE = f"({_YEAR}-{_DAY}|{_LEAP}-02-29)"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

#: Formats that are enforced; the engine knows the same ones, and more, within JSON.
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[tT]{_TIME}",
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,7}}",
    "email": rf"[a-zA-Z0-9_+-]{{1,64}}(\.[a-zA-Z0-9_+-]{{1,64}}){{0,3}}@{_LABEL}(\.{_LABEL}){{0,7}}",
}

#: A part of a pattern: an escape, a class, a group's beginning, or a character. A class without an end goes to the
#: pattern's, so that nothing is read twice.
_PART = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|\[[^\\\]]*(?:\\.[^\\\]]*)*\]?|\(\?.?|\{[0-9]+(?:,[0-9]*)?\}|.", re.DOTALL)
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_"}
_PLAIN = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "/": "\\/"}


def whole(pattern: str) -> str | None:
    """An expression for all of a text that has the pattern in it; None where the grammar has no way to say so."""
    if len(pattern) > MAX_PATTERN:
        return None
    parts = _PART.findall(pattern)
    begins, ends = parts[:1] == ["^"], parts[-1:] == ["$"]
    inner = parts[begins : len(parts) - ends]
    out, depth, before = [], 0, ""
    for part in inner:
        if part == "|" and depth == 0 and (begins or ends):
            # An anchor would belong to one of the alternatives only.
            return None
        depth += part.startswith("(") - (part == ")")
        if part == "?" and (before in ("*", "+", "?") or re.fullmatch(r"\{[0-9,]+\}", before)):
            # Which of several matches is taken makes no difference to a whole text.
            before = ""
            continue
        written = _written(part)
        if written is None:
            return None
        out.append(written)
        before = part
    body = f"({''.join(out)})"
    return ("" if begins else "(?s:.*)") + body + ("" if ends else "(?s:.*)")


def _written(part: str) -> str | None:
    """A part of a pattern in the grammar's dialect."""
    if part in ("^", "$") or (part.startswith("(?") and part != "(?:"):
        return None
    if part.startswith("\\") and len(part) == 2:
        return _escape(part[1], inside=False)
    if part.startswith("["):
        # The grammar's parser says what is wrong with a class without an end.
        return _class(part[1:-1]) if part.endswith("]") else part
    return "\\{" if part == "{" else _PLAIN.get(part, part)


def _escape(char: str, *, inside: bool) -> str | None:
    known = _CLASSES.get(char.lower())
    if known is not None:
        plain = known if char.islower() else f"[^{known}]"
        return plain if inside or char.isupper() else f"[{plain}]"
    if char in "bBcuxpPkAzZG" or char.isdigit():
        return None
    return "\\" + char


def _class(text: str) -> str | None:
    negated = text.startswith("^")
    out = []
    for part in re.findall(r"\\u[0-9a-fA-F]{4}|\\.|.", text[negated:], re.DOTALL):
        if part.startswith("\\") and len(part) == 2:
            written = _escape(part[1], inside=True)
        else:
            # Some characters join classes there.
            written = "\\" + part if part in "[&~" else _PLAIN.get(part, part)
        if written is None:
            return None
        out.append(written)
    return f"[{'^' if negated else ''}{''.join(out)}]" if out else None
