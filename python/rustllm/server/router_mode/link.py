"""Between a router and the processes of its models: a pair of sockets, the child's end its standard input.

The child writes what becomes of it, one JSON object a line. It never gets anything to read but the end:
then its router is gone, however it ended, and so the child ends as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

#: Set in the environment of a child: that there is a link, and where the router has keys, the directory that says
#: what each may ask for (`shared_accounts.py`).
VARIABLE = "RUSTLLM_ROUTER_LINK"
KEYS_VARIABLE = "RUSTLLM_ROUTER_KEYS"

#: Least seconds between two reports of how far the model is loaded.
_PACE = 0.1


class Link:
    """The child's end."""

    def __init__(self, descriptor: int, keys: Path | None = None) -> None:
        self.keys = keys
        self._descriptor = descriptor
        self._last = 0.0
        # The system ends the thread with the process; it only waits.
        threading.Thread(target=self._watch, name="rustllm-link", daemon=True).start()

    @classmethod
    def inherited(cls, environ: Mapping[str, str]) -> Link | None:
        """The link of a process that a router has started."""
        if environ.get(VARIABLE) != "1":
            return None
        return cls(0, Path(environ[KEYS_VARIABLE]) if KEYS_VARIABLE in environ else None)

    def report(self, state: str, **more: Any) -> None:
        """Tells the router: `loading`, `ready`, `sleeping` or `failed`."""
        # Without a router nobody asks; the watching thread ends the process.
        with contextlib.suppress(OSError):
            os.write(self._descriptor, json.dumps({"state": state, **more}).encode() + b"\n")

    def report_progress(self, fraction: float) -> None:
        """Tells how far the model is loaded, from 0 to 1."""
        now = monotonic()
        if now - self._last >= _PACE:
            self._last = now
            self.report("loading", progress=round(fraction, 3))

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(self._descriptor, 64):
                pass
        os._exit(1)
