"""The commands as a shell sees them."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*argv: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `rustllm`, and waits until it ends."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
    return subprocess.run(
        [sys.executable, "-m", "rustllm", *argv],
        env={**environ, **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def failure(status: int, *argv: str, **env: str) -> str:
    """The one line that a command with this exit status prints."""
    done = run(*argv, **env)
    assert done.returncode == status, done
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line
