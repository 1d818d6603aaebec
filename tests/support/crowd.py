"""Clients below HTTP libraries: bytes on sockets, and readers of streams on threads of their own."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import httpx

from tests.support.server import Server

TEXT = "Once upon a time there was a little dog who loved to play with a big red ball in the park. " * 3
ENDLESS = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}


def head(length: int, path: str = "/completion") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def request(body: dict[str, Any], path: str = "/completion") -> bytes:
    """A whole request as bytes."""
    data = json.dumps(body).encode()
    return head(len(data), path) + data


def connect(server: Server, receive: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.port))
    return client


class Reader(threading.Thread):
    """Reads a stream to its end and keeps its events."""

    def __init__(self, server: Server, body: dict[str, Any], path: str = "/completion") -> None:
        super().__init__(daemon=True)
        self.server, self.body, self.path = server, body, path
        self.begun = threading.Event()
        self.status = 0
        self.events: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with (
                httpx.Client(base_url=self.server.url, timeout=60) as client,
                client.stream("POST", self.path, json=self.body) as answer,
            ):
                self.status = answer.status_code
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        self.events.append(json.loads(line[6:]))
                        self.begun.set()
                    elif line.startswith("{"):  # no stream but an error
                        self.events.append(json.loads(line))
        except httpx.TransportError as error:
            self.failure = error
        self.begun.set()

    @property
    def is_whole(self) -> bool:
        """Whether it has been told how it ended."""
        last = self.events[-1] if self.events else {}
        return self.failure is None and (bool(last.get("stop")) or "error" in last)
