"""The process that downloads one model: `python -m rustllm.server.router_mode.download USER/REPO[:QUANT]`.

A process can be ended at any time, which the hub's library offers for no download.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from rustllm import hub
from rustllm.server.router_mode.link import Link

#: Least seconds between two reports.
_PACE = 0.1


def main() -> int:
    """Downloads what the command line names and reports how far it is."""
    link = Link.inherited(os.environ)
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if link is not None and (monotonic() - last >= _PACE or done == total):
            last = monotonic()
            link.report("downloading", done=done, total=total)

    try:
        hub.download(sys.argv[1], token=os.environ.get("HF_TOKEN"), progress=progress)
    except hub.HubError as error:
        if link is not None:
            link.report("failed", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
