"""A command with its end and the most memory that it held; also the small program that starts it.

What a process held before it became another program counts for the other one as well (Linux keeps it over `exec`), so a
command that is started from a large process seems as large as that. Hence a parent of a few megabytes between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """How a command ended."""

    #: Its exit status; below 0 the signal that ended it.
    status: int
    stdout: str
    stderr: str
    #: The most memory that it had in use.
    peak_bytes: int


def measured(*command: str, seconds: float = 60) -> Measured:
    """Runs a command without input until it ends."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        fds = (stdout.fileno(), stderr.fileno())
        starter = [sys.executable, "-I", "-S", __file__, *map(str, fds), *command]
        ended = subprocess.run(
            starter, pass_fds=fds, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
        assert ended.returncode == 0, ended.stderr
        for file in (stdout, stderr):
            file.seek(0)
        texts = (file.read().decode(errors="replace") for file in (stdout, stderr))
        status, peak = json.loads(ended.stdout)
        return Measured(status, *texts, peak)


def _start(stdout: int, stderr: int, command: list[str]) -> tuple[int, int]:
    """Runs the command with these files; its exit status and its peak in bytes."""
    streams = [(os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stderr, 2)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=streams)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(_start(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
