"""A real server process on a free port, and what tests say to it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "tests/data/templates"

#: The server of the chat-completion contract.
CONTRACT = (
    *("--alias", "tinyllama-2", "--ctx-size", "512", "--batch-size", "32", "--parallel", "2"),
    *("--n-predict", "64", "--seed", "42", "--temp", "0.8"),
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    """A status with its body."""

    status: int
    body: Any
    headers: httpx.Headers


class Server:
    """A running `rustllm-serve`, or another `program` with its flags."""

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, program: Sequence[str] = ("-m", "rustllm", "serve")
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        # Tests of clients run in an environment that has no server.
        python = os.environ.get("RUSTLLM_PYTHON", sys.executable)
        flags = dict(itertools.pairwise(arguments))
        self.health = flags.get("--api-prefix", "") + "/health"
        command = [python, *program, "--port", str(self.port), *arguments]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, env={**environ, **(env or {})}
        )
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def wait(self, seconds: float = 60) -> Server:
        """Waits until the model is loaded."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.output()}")
            try:
                if self.client.get(self.health).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the server is not ready after {seconds} s:\n{self.output()}")

    def output(self) -> str:
        """What it has printed."""
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> int:
        """Ends it as a supervisor would; its exit status."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.log.close()
        return status

    def get(self, path: str, **options: Any) -> Answer:
        """GET, with the JSON body."""
        return _answer(self.client.get(path, **options))

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST of JSON, or of raw bytes given as `content`."""
        if "content" not in options:
            options["json"] = body
        return _answer(self.client.post(path, **options))

    def chat(self, *messages: str, **fields: Any) -> Answer:
        """A chat: a system and a user message, or a user message alone."""
        return self.post("/v1/chat/completions", {"messages": as_messages(*messages), **fields})

    def stream(self, path: str, body: Any) -> list[dict[str, Any]]:
        """The events of a stream; OpenAI's end mark is checked and dropped."""
        events = []
        with self.client.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    events.append(line.removeprefix("data: "))
        if path.startswith("/v1/") or path.startswith("/chat"):
            assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.json(), response.headers)


def as_messages(*texts: str) -> list[dict[str, str]]:
    """Messages of a system and a user, or of a user alone."""
    roles = ("user",) if len(texts) == 1 else ("system", "user")
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """A server for a fixture: ready when yielded, ended afterwards."""
    server = Server(*arguments, env=env)
    try:
        yield server.wait()
    finally:
        server.stop()


def assert_error(answer: Answer, status: int = 400, param: str | None = None) -> dict[str, Any]:
    """Checks the error shape and returns the error."""
    assert answer.status == status, answer.body
    error = answer.body["error"]
    assert set(error) >= {"message", "type", "code", "param"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"] == status
    if param is not None:
        assert error["param"] == param, error
    return dict(error)
