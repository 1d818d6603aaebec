"""How commands end: what is the user's to mend becomes one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from rustllm.config import UsageError
from rustllm.logging import one_line


def guarded(program: str, work: Callable[[], int]) -> int:
    """The exit status of `work`; whatever is the user's to mend becomes one line."""
    try:
        return work()
    except UsageError as error:
        return fail(program, error, 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has left. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        return fail(program, error, 1)


def fail(program: str, error: Exception, status: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"{program}: error: {one_line(message)}", file=sys.stderr)
    return status
