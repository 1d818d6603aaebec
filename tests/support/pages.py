"""Following a Markdown page as its reader would: its blocks are run from first to last, in a directory of their own.

A block is marked with what it is:

- `sh`: commands, of which each must succeed
- `sh server`: a server, which runs until the page ends or starts the next one
- `python`: a part of the page's one program
- `text`: what the block before it printed, exactly
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.server import free_port

KINDS = ("sh", "sh server", "python", "text")

#: The port that pages name; each run puts a free one in its place.
PORT = "8080"

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page, its first line counted from one."""

    kind: str
    line: int
    code: str


def blocks(path: Path) -> list[Block]:
    """All of a page's blocks."""
    text = path.read_text(encoding="utf-8")
    return [Block(found[1], text.count("\n", 0, found.start(2)) + 1, found[2]) for found in _BLOCK.finditer(text)]


@dataclass
class Reader:
    """Someone who follows a page in `directory`, with `environment` beside that of the tests."""

    page: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__page__"})
    port: int = field(default_factory=free_port)
    printed: str = ""
    server: subprocess.Popen[bytes] | None = None

    def read(self) -> None:
        """Follows the whole page; what fails names the block's line."""
        does: dict[str, Callable[[str, int], None]] = {
            "sh": self.run_commands,
            "sh server": self.start_server,
            "python": self.run_python,
            "text": self.compare,
        }
        try:
            for block in blocks(self.page):
                does[block.kind](block.code.replace(PORT, str(self.port)), block.line)
        finally:
            self.stop_server()

    def place(self, line: int) -> str:
        return f"{self.page}:{line}"

    def variables(self) -> dict[str, str]:
        scripts = str(Path(sys.executable).parent)
        path = os.pathsep.join((scripts, os.environ["PATH"]))
        variables = {**os.environ, "PATH": path, "LLAMA_ARG_PORT": str(self.port)}
        return {**variables, "HOME": str(self.directory), **self.environment}

    def run_commands(self, code: str, line: int) -> None:
        command = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(
            command, cwd=self.directory, env=self.variables(), capture_output=True, text=True, timeout=100
        )
        self.printed = done.stdout
        assert done.returncode == 0, f"{self.place(line)}: status {done.returncode}\n{done.stdout}{done.stderr}"

    def start_server(self, code: str, line: int) -> None:
        self.stop_server()
        with (self.directory / "server.log").open("wb") as log:
            command = ["bash", "-euo", "pipefail", "-c", f"exec {code}"]
            self.server = subprocess.Popen(
                command, cwd=self.directory, env=self.variables(), stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.server.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return
            time.sleep(0.05)
        log_text = (self.directory / "server.log").read_text()
        raise AssertionError(f"{self.place(line)}: the server does not answer\n{log_text}")

    def stop_server(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(timeout=40)
            self.server = None

    def run_python(self, code: str, line: int) -> None:
        # Empty lines before it, so that what it raises names the page's own lines.
        program = compile("\n" * (line - 1) + code, str(self.page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as printed, inside(self.directory):
            exec(program, self.names)
        self.printed = printed.getvalue()

    def compare(self, text: str, line: int) -> None:
        printed = self.printed.strip().replace(str(self.port), PORT)
        expected = text.strip().replace(str(self.port), PORT)
        assert printed == expected, f"{self.place(line)}: it printed\n{printed}"


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Works in `directory`."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
