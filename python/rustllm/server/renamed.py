"""Errors in the words of the API that was asked, where a field of it has another name underneath."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rustllm.server.errors import ApiError, from_exception

#: Patterns of fields underneath with what an API calls them: as `re.sub` takes it, so that it may look it up.
Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


@contextmanager
def renamed(names: Names) -> Iterator[None]:
    """Errors in here name the fields as the caller's API does."""
    try:
        yield
    except Exception as error:
        found = from_exception(error)
        if found.status >= 500 or found.param is None:
            raise
        for pattern, name in names:
            param, count = re.subn(f"^{pattern}", name, found.param)
            if count:
                message = re.sub(f"^{pattern}", name, str(found))
                # Messages name the other fields that have a part in it in brackets.
                for part, own in names:
                    message = re.sub(rf"(?<=\(){part}(?=[).[])", own, message)
                raise ApiError(found.status, message, param=param, kind=found.kind, **found.extra) from None
        raise
