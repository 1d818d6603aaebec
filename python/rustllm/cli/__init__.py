"""The commands `rustllm-serve` and `rustllm`: one file each, or one for a few that belong together.

Exit status: 0 done, 1 a model, a file or a request is at fault, 2 the command line is, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rustllm.cli.server import run_server


def serve(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `rustllm-serve`."""
    return run_server(sys.argv[1:] if arguments is None else arguments, "rustllm-serve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `rustllm`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "serve":
        return run_server(arguments[1:], "rustllm serve")
    from rustllm.cli.commands import run

    return run(arguments)
