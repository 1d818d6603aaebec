"""Keys over the processes of a router and its models.

The router alone has the keys. It checks the one of a request and tells the model's process its name in a header,
which it takes from nobody else: what clients send under that name is dropped, and none but this user can connect to
the process. A process knows of each key what a file in the router's private directory says: its name, its weight and
its tokens a minute. These are spent in any process, so the moments at which the buckets are full lie in a second file,
which all of them map.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from starlette.datastructures import Headers

from rustllm.keys import ApiKey
from rustllm.server.accounts import Account, Accounts
from rustllm.server.bucket import Moment

#: The name of the key whose request it is, from the router to a model's process.
HEADER = "x-rustllm-key"

#: Files of the router's directory: what each key may ask for, and when the buckets are full.
_KEYS, _MOMENTS = "keys.json", "moments"

_MOMENT_BYTES = 8

#: Seconds after which a change is made without the lock. Who has it needs microseconds, unless the process was
#: stopped just then; that must not stop the others, and the worst of it is that one of two changes is lost.
_PATIENCE = 0.05


class _Memory:
    """The moments of all keys, in a file that this process maps."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self.values = memoryview(mmap.mmap(self._file.fileno(), 0)).cast("d")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from changing anything meanwhile."""
        deadline = monotonic() + _PATIENCE
        while not self._try_lock() and monotonic() < deadline:
            sleep(0)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


class SharedMoment(Moment):
    """A time that several processes keep, and any of them changes."""

    def __init__(self, memory: _Memory, index: int) -> None:
        self._memory, self._index = memory, index

    def get(self) -> float:
        """The time. It is read as a whole, whoever writes."""
        return float(self._memory.values[self._index])

    def change(self, change: Callable[[float], float]) -> None:
        """Puts what `change` makes of the time in its place."""
        with self._memory.locked():
            self._memory.values[self._index] = change(self.get())


class EntrustedAccounts(Accounts):
    """The keys in a model's process, by the names that the router gives."""

    def __init__(self, keys: Sequence[ApiKey], full_at: Sequence[Moment]) -> None:
        super().__init__(keys, full_at)
        self._by_name = {account.name.encode(): account for account in self.all}

    def of(self, headers: Headers) -> Account | None:
        """Whose request this is."""
        return self.find(headers.get(HEADER, "").encode())

    def find(self, given: bytes) -> Account | None:
        """Whose name this is; there are no keys to compare with."""
        return self._by_name.get(given)


def share(keys: Sequence[ApiKey], directory: Path) -> Accounts:
    """The router's accounts of its keys, of which there are some; `directory` gets what the models' processes need
    to know of them."""
    facts = [{"name": key.name, "tokens_per_minute": key.tokens_per_minute, "weight": key.weight} for key in keys]
    (directory / _KEYS).write_text(json.dumps(facts))
    (directory / _MOMENTS).write_bytes(bytes(len(keys) * _MOMENT_BYTES))
    return Accounts(keys, shared_moments(directory, len(keys)))


def entrusted(directory: Path) -> Accounts:
    """The accounts in a model's process. Raises OSError where they are gone: nobody is served without them."""
    # Requests a minute are the router's to count, which sees all of them.
    keys = [ApiKey("", **fact) for fact in json.loads((directory / _KEYS).read_text())]
    return EntrustedAccounts(keys, shared_moments(directory, len(keys)))


def shared_moments(directory: Path, n: int) -> list[SharedMoment]:
    """The moments of `n` keys, as this process sees them."""
    memory = _Memory(directory / _MOMENTS)
    return [SharedMoment(memory, index) for index in range(n)]
