"""A stand-in for the Hugging Face hub: one repository, served from memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A running stand-in."""

    url: str
    #: (method, path) of each request.
    requests: list[tuple[str, str]] = field(default_factory=list)
    #: Authorization headers that came.
    keys: set[str] = field(default_factory=set)

    def downloads(self) -> list[str]:
        """Paths of files whose content was sent."""
        return [path for method, path in self.requests if method == "GET" and "/resolve/" in path]


@contextmanager
def running_hub(repo: str, files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Serves `files` as `repo` on a free port of this machine."""
    hub = Hub("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            hub.requests.append((self.command, self.path))
            hub.keys.add(self.headers.get("Authorization", ""))
            path = self.path.partition("?")[0]
            if path.startswith(f"/api/models/{repo}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": len(body), "oid": COMMIT} for name, body in files.items()
                ]
                return self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
            if path.startswith(f"/api/models/{repo}"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": repo, "modelId": repo, "sha": COMMIT, "private": False, "siblings": siblings, "tags": []}
                return self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
            prefix = f"/{repo}/resolve/"
            name = path.removeprefix(prefix).partition("/")[2] if path.startswith(prefix) else ""
            if name not in files:
                kind = "EntryNotFound" if path.startswith(f"/{repo}/") else "RepoNotFound"
                return self.send(404, b"", {"X-Error-Code": kind, "X-Error-Message": kind})
            body = files[name]
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            self.send(200, body, {"ETag": etag, "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

        def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Stays silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
