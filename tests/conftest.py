"""What all tests need of the process that runs them."""

from __future__ import annotations

import gc
import signal

# A shell ignores interrupts on behalf of what it runs in the background, and children would inherit that; some
# tests interrupt their children.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from the quarter of a million objects of the tests themselves."""
    gc.collect()
    gc.freeze()
