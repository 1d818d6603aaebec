"""No request has the server read a file, run a template or call an address that the request names."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts.conformance import Endpoint, endpoints

from tests.server.test_conformance import REQUESTS
from tests.support.server import Server, as_messages, assert_error, running

SECRET = "a-secret-of-this-machine"


class Listener:
    """An address that counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "secret.json"
    path.write_text(json.dumps({"x": SECRET}))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = str(tmp_path_factory.mktemp("slots"))
    flags = ("--slot-save-path", directory, "--embeddings", "--pooling", "mean", "-lv", "1")
    yield from running("-c", "512", "-np", "1", *flags)


#: How an address or a file comes in a field that is more than a text.
FORMS: tuple[Any, ...] = (
    lambda url: url,
    lambda url: [url],
    lambda url: {"url": url},
    lambda url: {"$ref": url},
    lambda url: {"$ref": url, "$id": url, "$schema": url, "type": "object"},
    lambda url: [{"type": "image_url", "image_url": {"url": url}}],
    lambda url: [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
    lambda url: [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": url}}]}],
    lambda url: [{"role": "user", "content": [{"type": "input_file", "file_url": url}]}],
    lambda url: [{"role": "user", "content": "x", "images": [url]}],
    lambda url: [{"type": "mcp", "server_url": url, "server_label": "x"}],
    lambda url: {"prompt_string": "x", "multimodal_data": [url]},
    lambda url: {"type": "json_schema", "json_schema": {"schema": {"$ref": url}}},
)
ASKED = [endpoint for endpoint in endpoints() if endpoint.name in REQUESTS]


@pytest.mark.parametrize("endpoint", ASKED, ids=lambda endpoint: endpoint.name)
def test_nothing_is_fetched_or_read(server: Server, listener: Listener, secret: Path, endpoint: Endpoint) -> None:
    path = endpoint.name.split()[1].replace("{id_slot}", "0?action=restore")
    names = {field.name.split(".")[0].split("[")[0] for field in endpoint.fields}
    assert names
    url, files = f"http://127.0.0.1:{listener.port}/x", (str(secret), secret.as_uri(), f"../../../..{secret}")
    for at, name in enumerate(sorted(names)):
        for index, form in enumerate(FORMS):
            for target in (url, files[(at + index) % len(files)]):
                answer = server.client.post(path, json={**REQUESTS[endpoint.name], name: form(target)})
                assert answer.status_code < 500 or answer.status_code == 501, (name, answer.text)
                assert SECRET not in answer.text
    assert listener.calls == 0


def test_the_listener_would_notice(listener: Listener) -> None:
    before = listener.calls
    socket.create_connection(("127.0.0.1", listener.port)).close()
    for _ in range(100):
        if listener.calls > before:
            listener.calls = before
            return
        threading.Event().wait(0.02)
    raise AssertionError("it heard nothing")


TEMPLATE = "{{ ''.__class__.__mro__ }}{% include '/etc/passwd' %}"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/chat/completions", {"chat_template": TEMPLATE}, "chat_template"),
        ("/apply-template", {"chat_template": "/etc/passwd"}, "chat_template"),
        ("/tokenize", {"chat_template": TEMPLATE}, "chat_template"),
        ("/v1/chat/completions", {"chat_template_kwargs": {"messages": TEMPLATE}}, "chat_template_kwargs"),
        ("/v1/chat/completions", {"chat_template_kwargs": {"tools": [TEMPLATE]}}, "chat_template_kwargs"),
    ],
)
def test_templates_are_the_operator_s(server: Server, path: str, fields: dict[str, Any], param: str) -> None:
    assert_error(server.post(path, {"messages": as_messages("x"), **fields}), 400, param)
    assert server.post("/api/generate", {"prompt": "x", "template": TEMPLATE, "stream": False}).status == 400


def test_text_is_no_template(server: Server) -> None:
    told = server.post("/apply-template", {"messages": as_messages(TEMPLATE)})
    assert TEMPLATE in told.body["prompt"]


def test_downloads_are_off_with_a_flag(tmp_path: Path) -> None:
    for one in running("--models-dir", str(tmp_path), "--offline"):
        error = assert_error(one.post("/models", {"model": "some-one/some-repo"}), 501)
        assert "--offline" in error["message"]
        for name in ("http://127.0.0.1:1/x", "file:///etc/passwd", "../..", "/etc/passwd", "a/b/c", "a\n/b"):
            assert_error(one.post("/models", {"model": name}), 400, "model")
