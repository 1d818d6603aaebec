"""A server whose engine ends on SIGUSR1 as if its thread had failed; it takes the server's flags."""

from __future__ import annotations

import signal
import sys
import threading

from rustllm.config import ServerSettings
from rustllm.flags.parse import parse
from rustllm.loading import load_engine
from rustllm.server.app import run


def main() -> int:
    """The server's exit status."""
    settings = ServerSettings.from_arguments(parse(sys.argv[1:], {}))
    engine = load_engine(settings)
    # On a thread of its own: it waits for the engine's, and the event loop must go on.
    signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=engine.shutdown).start())
    return run(settings, engine=engine)


if __name__ == "__main__":
    sys.exit(main())
