"""Unix sockets to listen on, where `--host` names one."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

#: How the path of a socket is told from an address, as in llama-server.
SUFFIX = ".sock"


def is_socket(host: str) -> bool:
    """Whether a host is the path of a Unix socket."""
    return host.endswith(SUFFIX)


@contextmanager
def bound_socket(host: str) -> Iterator[list[socket.socket] | None]:
    """The socket to serve, gone afterwards; None for an address. Whoever may write to its file may connect,
    which the umask decides. Raises OSError where something else is there."""
    if not is_socket(host):
        yield None
        return
    _remove_stale(host)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with bound:
        bound.bind(host)
        try:
            yield [bound]
        finally:
            if os.path.exists(host):
                os.unlink(host)


def _remove_stale(path: str) -> None:
    """Removes a socket that a process has left which was killed."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
