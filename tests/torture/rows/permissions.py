"""What a client is not allowed to do: templates, files, addresses, other clients' keys."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

from tests.support.attack import KEY, Row, Send, Target
from tests.support.server import Answer
from tests.support.slot_files import of_another_model
from tests.torture.rows.make import CHAT, COMPLETION, body, with_fields

_HOSTILE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

_HUGE: dict[str, Any] = {
    "10 MB of text": "x" * 10_000_000,
    "500,000 numbers": [1] * 500_000,
    "100,000 keys": {f"k{i}": i for i in range(100_000)},
}

_TEMPLATES = [
    with_fields("template", "a template in a chat", CHAT, chat_template="{{ 1 }}"),
    with_fields("template", "an endless template in a chat", CHAT, chat_template=_HOSTILE),
    with_fields("template", "a template to render", "/apply-template", chat_template="{{ 1 }}"),
    *(with_fields("template", f"a keyword {name}", CHAT, chat_template_kwargs={name: 1})
      for name in ("messages", "tools", "bos_token", "raise_exception", "strftime_now", "__class__", "self", "x")),
    with_fields("template", "10,000 keywords", CHAT, chat_template_kwargs={f"k{i}": 1 for i in range(10_000)}),
    with_fields("template", "a keyword of 1 MB", CHAT, chat_template_kwargs={"x" * 1_000_000: 1}),
    # Of a name that is allowed; a template that does not look at it is rendered as without.
    *(with_fields("template", f"{name}: {text}", CHAT, row={"statuses": (200, 400)}, chat_template_kwargs={name: value})
      for name in ("enable_thinking", "reasoning_effort") for text, value in _HUGE.items()),
    with_fields("template", "template text in a message", CHAT, row={"param": None, "statuses": (200,)},
                messages=[{"role": "user", "content": "{{ ''.__class__ }} {% for x in y %}"}]),
]  # fmt: skip


def _slot(action: str, name: Any, slot: str = "0") -> Send:
    def send(target: Target) -> Answer:
        before = sorted(target.slots.parent.iterdir())
        answer = target.server.post(f"/slots/{slot}?action={action}", {"filename": name})
        assert sorted(target.slots.parent.iterdir()) == before, "a file outside of the directory"
        return answer

    return send


_NAMES: dict[str, Any] = {
    "../../x": "../../x", "..": "..", "an absolute path": "/etc/passwd", "a backslash": "..\\x", "a NUL": "a\0b",
    "10,000 characters": "x" * 10_000, "128 umlauts": "ä" * 128, "empty": "", "a hidden file": ".x",
    "a line feed": "a\nb", "right to left": "\u202ex", "a number": 5, "null": None, "a list": ["x"],
    "a drive": "C:x", "a stream": "a:b", "a share": "\\\\server\\x", "a URL": "file:///tmp/x",
}  # fmt: skip


def _damaged(data: bytes) -> Send:
    def send(target: Target) -> Answer:
        (target.slots / "damaged.bin").write_bytes(data)
        return target.server.post("/slots/0?action=restore", {"filename": "damaged.bin"})

    return send


def _saved(target: Target) -> Path:
    """The file of a saved slot."""
    whole = target.slots / "whole.bin"
    if not whole.exists():
        assert target.server.post(COMPLETION, {"prompt": "Once upon a time", "n_predict": 40}).status == 200
        assert target.server.post("/slots/0?action=save", {"filename": whole.name}).status == 200
    return whole


def _truncated(share: float) -> Send:
    def send(target: Target) -> Answer:
        data = _saved(target).read_bytes()
        return _damaged(data[: int(share * len(data))])(target)

    return send


def _of_another_model(target: Target) -> Answer:
    other = target.slots / "other.bin"
    if not other.exists():
        of_another_model(_saved(target), other)
    return target.server.post("/slots/0?action=restore", {"filename": other.name})


_SLOTS = [
    *(Row("slot files", f"{action} {text}", _slot(action, name), param="filename")
      for text, name in _NAMES.items() for action in ("save", "restore")),
    *(Row("slot files", f"slot {slot[:20]}", _slot("save", "x", slot), param="id_slot")
      for slot in ("2", "-1", "x", "9" * 100, "1.0", "%00", "%F0%9F%98%80")),
    *(Row("slot files", f"the action {action[:20]!r}", _slot(action, "x"), param="action")
      for action in ("", "what", "SAVE", "x" * 5000)),
    Row("slot files", "a file that is not there", _slot("restore", "absent.bin"), param="filename"),
    Row("slot files", "an empty file", _damaged(b""), param="filename"),
    Row("slot files", "a file of another model", _of_another_model, param="filename", says="another model wrote it"),
    Row("slot files", "another kind of file", _damaged(b"GGUF" * 1000), param="filename"),
    *(Row("slot files", f"cut to {share:.0%}", _truncated(share), param="filename") for share in (0.01, 0.3, 0.99)),
]  # fmt: skip


def _as(*headers: bytes, path: str = COMPLETION) -> Send:
    """A request with these headers instead of the key."""
    data = body(COMPLETION, {})
    method = "POST" if path.startswith(COMPLETION) else "GET"
    lines = [
        f"{method} {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Connection: close",
        b"Content-Length: %d" % len(data),
    ]
    return lambda target: target.say(b"\r\n".join([*lines, *headers, b"", data]))


_KEY = KEY.encode()
_TWO = (b"X-Api-Key: " + _KEY, b"X-Api-Key: wrong")
_AUTH = [
    Row("auth", "no key", _as(), (401,)),
    Row("auth", "a wrong key", _as(b"Authorization: Bearer wrong"), (401,)),
    Row("auth", "the key's beginning", _as(b"Authorization: Bearer " + _KEY[:-1]), (401,)),
    Row("auth", "the key and more", _as(b"Authorization: Bearer " + _KEY + b"x"), (401,)),
    Row("auth", "the key in upper case", _as(b"Authorization: Bearer " + _KEY.upper()), (401,)),
    Row("auth", "another scheme", _as(b"Authorization: Basic " + _KEY), (401,)),
    Row("auth", "no scheme", _as(b"Authorization: " + _KEY), (401,)),
    Row("auth", "the key in the query", _as(path=f"{COMPLETION}?api_key={KEY}&key={KEY}"), (401,)),
    Row("auth", "an empty key", _as(b"Authorization: Bearer ", b"X-Api-Key:"), (401,)),
    Row("auth", "a key of 60 kB", _as(b"Authorization: Bearer " + b"x" * 60_000), (401,)),
    Row("auth", "a key that is no ASCII", _as(b"Authorization: Bearer \xff\xfe"), (401,)),
    Row("auth", "a key that is no ASCII, in the other header", _as(b"X-Api-Key: \xc3\xa4\xff"), (401,)),
    Row("auth", "a wrong key first, then the right one",
        _as(b"Authorization: Bearer wrong", b"Authorization: Bearer " + _KEY), (401,)),
    *(Row("auth", f"two keys in the other header, the {place} of them right", _as(*keys), (401,))
      for place, keys in (("first", _TWO), ("second", _TWO[::-1]))),
    Row("auth", "a password of another scheme beside the key", _as(b"Authorization: Basic eDp5", _TWO[0]), (200,)),
    Row("auth", "a password of another scheme beside a wrong key", _as(b"Authorization: Basic eDp5", _TWO[1]), (401,)),
    Row("auth", "a wrong key beside the right one in the other header",
        _as(b"Authorization: Bearer wrong", _TWO[0]), (401,)),
    Row("auth", "a scheme in lower case, which is legal", _as(b"authorization: bearer " + _KEY), (200,)),
    *(Row("auth", f"no key at {path}", _as(path=path), (401,))
      for path in ("/slots", "/metrics", "/props", "/v1/stream")),
]  # fmt: skip

_URLS = ("http://127.0.0.1:9/x.png", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "\\\\server\\x",
         "ftp://localhost/x", "data:image/png;base64,AAAA", "../../etc/passwd", "file://whole.bin", "file://../slots/whole.bin",
         "file://..%2f..%2fetc/passwd", "http://localhost/redirect?to=file:///etc/passwd")  # fmt: skip


def _image(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}]}


def _listening(target: Target) -> Answer:
    """An image at an address that would answer, if only to send whoever asks elsewhere; nobody does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        answer = target.post(CHAT, body(CHAT, _image(f"http://127.0.0.1:{listener.getsockname()[1]}/x.png")))
        with contextlib.suppress(BlockingIOError):
            listener.accept()
            raise AssertionError("the address was called")
    return answer


_LAST = b"Host: localhost\r\nConnection: close\r\n\r\n"

_FILES = [
    *(with_fields("files and URLs", f"an image at {url}", CHAT, row={"param": "messages", "says": "not supported"},
                  **_image(url))
      for url in _URLS),
    Row("files and URLs", "an image at an address that answers", _listening, param="messages", says="not supported"),
    *(Row("files and URLs", f"GET {path}", lambda target, path=path: target.server.get(path), (404, 400))
      for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd", "/a%00b",
                   "/" + "x" * 5000)),
    Row("files and URLs", "a proxied address in the request line",
        lambda target: target.say(b"GET http://169.254.169.254/x HTTP/1.1\r\n" + _LAST),
        (400, 401, 404)),
    Row("files and URLs", "CONNECT", lambda target: target.say(b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n" + _LAST),
        (400, 401, 404, 405)),
]  # fmt: skip

ROWS = [*_TEMPLATES, *_SLOTS, *_AUTH, *_FILES]
