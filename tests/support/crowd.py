"""Clients below HTTP libraries: bytes on sockets, and readers of streams on threads of their own."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx

from tests.support.apis import COMPLETION, Api, Event, Usage, event_of, is_error
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


class Stream:
    """A stream that its client reads when, and as far as, it wants. Nothing waits for it to begin, so that it may stand
    in a queue; what its events say is checked as they are read."""

    def __init__(self, server: Server, api: Api, text: str, n: int, **fields: Any) -> None:
        self.api = api
        self.events: list[Event] = []
        self.connection = post(server, api.path, {**api.stream(text, n), **fields})
        self._unread = self._read()

    def _read(self) -> Iterator[Event]:
        response = self.connection.getresponse()
        assert response.status == 200, response.read()
        for line in response:
            event = event_of(line)
            if event is not None:
                assert not is_error(event), event
                assert not self.has_ended, "an event after the last"
                self.events.append(event)
                yield event

    def read(self, n: int | None = None) -> None:
        """Reads so many events, or all that there are."""
        for _ in itertools.islice(self._unread, n):
            pass

    @property
    def has_ended(self) -> bool:
        """Whether the last event has been read."""
        return bool(self.events) and self.api.is_last(self.events[-1])

    @property
    def text(self) -> str:
        """What has been read of the answer."""
        return "".join(self.api.piece(event) for event in self.events)

    @property
    def usage(self) -> Usage | None:
        """The last counts that have been read."""
        return next(filter(None, map(self.api.usage, reversed(self.events))), None)

    def close(self) -> None:
        """Leaves."""
        self.connection.close()


def post(server: Server, path: str, body: Any) -> HTTPConnection:
    """A connection on which a request has been sent, whose answer may be read at any time."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection


class Reader(threading.Thread):
    """Reads a stream to its end and keeps its events."""

    def __init__(self, server: Server, body: dict[str, Any], api: Api = COMPLETION) -> None:
        super().__init__(daemon=True)
        self.server, self.body, self.api = server, body, api
        self.begun = threading.Event()
        self.status = 0
        self.events: list[Event] = []
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with (
                # Reading certificates, which HTTP needs none of, takes longer than the rest of a client.
                httpx.Client(base_url=self.server.url, timeout=60, verify=False) as client,
                client.stream("POST", self.api.path, json=self.body) as answer,
            ):
                self.status = answer.status_code
                for line in answer.iter_lines():
                    if event := event_of(line):
                        self.events.append(event)
                        self.begun.set()
        except httpx.TransportError as error:
            self.failure = error
        self.begun.set()

    @property
    def is_complete(self) -> bool:
        """Whether it has its API's last event."""
        return self.failure is None and bool(self.events) and not self.failed and self.api.is_last(self.events[-1])

    @property
    def failed(self) -> bool:
        """Whether it has been told that its answer failed."""
        return any(map(is_error, self.events))

    @property
    def is_whole(self) -> bool:
        """Whether it has been told how it ended."""
        return self.is_complete or (self.failure is None and self.failed)
