"""What is no JSON, or none that a program of good will writes."""

from __future__ import annotations

import gzip
import json

from tests.support.attack import Row
from tests.torture.rows.make import CHAT, COMPLETION, WHOLE, posted

PATHS = tuple(WHOLE)
_GOOD = json.dumps(WHOLE[COMPLETION]).encode()

_NO_JSON: dict[str, bytes] = {
    "empty body": b"",
    "{": b"{",
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "a number": b"5",
    "trailing bytes": b'{"prompt": "x"} x',
    "a second object": b'{"prompt": "x"}{"prompt": "x"}',
    "BOM": b"\xef\xbb\xbf" + _GOOD,
    "UTF-16": _GOOD.decode().encode("utf-16"),
    "UTF-32": _GOOD.decode().encode("utf-32"),
    "gzip without being asked": gzip.compress(_GOOD),
    "NULs": b"\0" * 1000,
    "a comment": b'{"prompt": "x" /* y */}',
    "single quotes": b"{'prompt': 'x'}",
    "a trailing comma": b'{"prompt": "x",}',
}

_FORMS = {
    "a form": ("application/x-www-form-urlencoded", b"prompt=x&n_predict=4"),
    "multipart": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
    ),
    "gzip by its header": ("application/json", gzip.compress(_GOOD)),
}

_DEEP: dict[str, tuple[str, bytes]] = {
    "100,000 [": (COMPLETION, b"[" * 100_000),
    "100,000 { of keys": (COMPLETION, b'{"a":' * 100_000),
    "a million [ in a field": (COMPLETION, b'{"prompt": ' + b"[" * 1_000_000),
    "a 5,000-deep schema": (COMPLETION, b'{"prompt": "x", "json_schema": ' + b'{"not": ' * 5000 + b"{}" + b"}" * 5001),
    "a 5,000-deep message": (CHAT, b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "a 5,000-deep tool": (CHAT, b'{"messages": [], "tools": [' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]}"),
    "one level more than allowed": (COMPLETION, b'{"a": ' + b"[" * 128 + b"]" * 128 + b"}"),
}


def _field(name: str, value: bytes) -> bytes:
    return b'{"prompt": "x", "n_predict": 2, "' + name.encode() + b'": ' + value + b"}"


_MANY: dict[str, bytes] = {
    "5,000,000 empty arrays": b'{"prompt": "x", "y": [' + b"[]," * 5_000_000 + b"[]]}",
    "1,000,000 objects": b'{"prompt": "x", "y": [' + b'{"a":1},' * 1_000_000 + b"{}]}",
    "8,000,000 numbers": b'{"prompt": "x", "y": [' + b"1," * 8_000_000 + b"1]}",
}

_ENCODING: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "a lone surrogate": (_field("prompt", b'"\\ud800"'), (400,)),
    "a surrogate in a stop": (_field("stop", b'["\\udfff"]'), (400,)),
    "a surrogate in a key": (_field("\\ud800", b"1"), (400,)),
    "NUL": (_field("prompt", b'"a\\u0000b"'), (200,)),
    "a raw NUL": (_field("prompt", b'"a\0b"'), (400,)),
    "NaN": (_field("temperature", b"NaN"), (400,)),
    "Infinity": (_field("temperature", b"Infinity"), (400,)),
    "-Infinity": (_field("temperature", b"-Infinity"), (400,)),
    "1e999": (_field("top_p", b"1e999"), (400,)),
    "a 4,000-digit integer": (_field("n_predict", b"9" * 4000), (400,)),
    "a 4,000-digit fraction": (_field("temperature", b"0." + b"9" * 4000), (200,)),
    "duplicate keys": (_field("n_predict", b"1"), (200,)),
    "invalid UTF-8": (_field("prompt", b'"\xff\xfe"'), (400,)),
    "overlong UTF-8": (_field("prompt", b'"\xc0\xaf"'), (400,)),
    "a cut character": (_field("prompt", b'"\xe6\x97"'), (400,)),
    "an unknown escape": (_field("prompt", b'"\\x41"'), (400,)),
    "a private character": (_field("prompt", '"\U0010ffff\ufffe"'.encode()), (200,)),
    "a hundred combining marks": (_field("prompt", b'"' + "e\u0301\u0327".encode() * 50 + b'"'), (200,)),
}

#: A template gives back what it was told: on the way out nothing may be in the way either.
_ECHO = {
    "a lone surrogate, given back": (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', (400,)),
    "a role with a surrogate": (b'{"messages": [{"role": "\\ud83d", "content": "x"}]}', (400,)),
    "half an emoji as an escape pair": (b'{"messages": [{"role": "user", "content": "\\ud83d\\ude00"}]}', (200,)),
}

ROWS = [
    *(Row("not JSON", f"{text} at {path}", posted(path, data)) for text, data in _NO_JSON.items() for path in PATHS),
    *(
        Row(
            "not JSON", text, posted(COMPLETION, data, {"content-type": kind, "content-encoding": encoding}), (400, 415)
        )
        for text, (kind, data) in _FORMS.items()
        for encoding in [("gzip" if "gzip" in text else "identity")]
    ),
    *(Row("deep JSON", text, posted(path, data), says="(--max-json-") for text, (path, data) in _DEEP.items()),
    *(Row("deep JSON", text, posted(COMPLETION, data), says="allowed") for text, data in _MANY.items()),
    *(Row("encoding", text, posted(COMPLETION, data), statuses) for text, (data, statuses) in _ENCODING.items()),
    *(Row("encoding", text, posted("/apply-template", data), statuses) for text, (data, statuses) in _ECHO.items()),
]
