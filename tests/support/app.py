"""The server's app in the process of the tests, for settings of which many are tried: it starts in no time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from rustllm.config import ServerSettings, parse
from rustllm.server.app import create_app
from tests.support.server import Answer


class App:
    """What `tests.support.server.Server` offers, without a socket."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(self, path: str, body: Any) -> Answer:
        """POST of JSON."""
        response = self.client.post(path, json=body)
        return Answer(response.status_code, response.json(), response.headers)

    def stream(self, path: str, body: Any) -> list[dict[str, Any]]:
        """The events of a stream without its end mark."""
        response = self.client.post(path, json={**body, "stream": True})
        assert response.status_code == 200, response.text
        events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]


@contextmanager
def app(*flags: str) -> Iterator[App]:
    """The app with these flags, ready when it is given."""
    with TestClient(create_app(ServerSettings.from_arguments(parse(flags, {}))), base_url="http://localhost") as client:
        deadline = time.monotonic() + 60
        while client.get("/health").status_code != 200:
            assert time.monotonic() < deadline, "the model is not loaded"
            time.sleep(0.01)
        yield App(client)
