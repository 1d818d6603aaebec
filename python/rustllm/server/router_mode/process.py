"""A child process that reports over a link."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any


class Process:
    """Started with `start`; ends by itself when the router's end of its link is closed."""

    def __init__(self, process: asyncio.subprocess.Process, end: socket.socket) -> None:
        self._process = process
        self._end = end

    @classmethod
    async def start(cls, arguments: Sequence[str], environ: dict[str, str]) -> Process:
        """Runs this Python with `arguments`. What it prints goes where the router's own output goes."""
        ours, childs = socket.socketpair()
        with childs:
            try:
                # A session of its own keeps a terminal's Ctrl-C with the router, which ends its children.
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdin=childs.fileno(), env=environ, start_new_session=True
                )
            except OSError:
                ours.close()
                raise
        return cls(process, ours)

    async def reports(self) -> AsyncIterator[dict[str, Any]]:
        """What the process reports, until it has ended."""
        reader, writer = await asyncio.open_unix_connection(sock=self._end)
        try:
            while line := await reader.readline():
                value = json.loads(line)
                yield value
        except (ConnectionError, ValueError):
            # It was cut off in the middle of a line.
            pass
        finally:
            writer.close()

    async def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return await self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._process.returncode is not None

    def terminate(self) -> None:
        """Asks it to end in order."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Ends it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self, seconds: float) -> int:
        """Asks it to end, and ends it when it has not within `seconds`. Returns its exit status."""
        self.terminate()
        try:
            return await asyncio.wait_for(asyncio.shield(self.wait()), seconds)
        except asyncio.TimeoutError:
            self.kill()
            return await self.wait()
