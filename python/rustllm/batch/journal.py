"""The files that answers go to, which are also all that is known of earlier runs.

Whole lines are appended, a group at a time, and are on the disk before the next group. So only the last line
can be torn, by a kill in the middle of its writing; the next run cuts it off and asks for that answer again.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rustllm.batch.requests import Request, Requests

#: How each of our lines begins, by which a torn one is told from what is none of ours.
_BEGINNING = b'{"id": "batch_req_'


class LineFile:
    """A file that grows by whole lines. Nobody else may write to it meanwhile."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it. Raises OSError, ValueError where it is none, RuntimeError where another run has it."""
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: what is done must be read from it again; allowed: a file")
        self.path = path
        self._held: list[bytes] = []
        self._saving = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise RuntimeError(f"{path}: another run is writing to it") from None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Its lines with their places. The last one has no line break if it is torn."""
        with open(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            offset = 0
            for line in file:
                yield offset, line
                offset += len(line)

    def cut(self, size: int) -> None:
        """Drops what is behind the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def add(self, line: bytes) -> None:
        """Takes a line, to be written with the next group."""
        self._held.append(line)

    def save(self) -> None:
        """Writes what has been added and waits until the disk has it. From any thread. Raises OSError."""
        with self._saving:
            held, self._held = self._held, []
            data = memoryview(b"".join(held))
            while data:
                data = data[os.write(self._descriptor, data) :]
            if held:
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Gives the file free."""
        os.close(self._descriptor)


class Journal:
    """The output, and the file of failures where there is one."""

    def __init__(self, output: LineFile, errors: LineFile | None) -> None:
        self._output = output
        self._errors = errors

    @classmethod
    @contextmanager
    def opened(cls, output: Path, errors: Path | None) -> Iterator[Journal]:
        """The journal of these files, created if need be. Raises OSError, RuntimeError, ValueError."""
        with ExitStack() as stack:
            files = []
            for path in (output, errors):
                if path is not None:
                    files.append(LineFile(path))
                    stack.callback(files[-1].close)
            yield cls(files[0], files[1] if errors is not None else None)

    def resume(self, requests: Requests) -> dict[str, bool]:
        """What earlier runs have done: by custom_id, whether the request has failed. A torn last line is cut off
        once all others have been seen to be answers to these requests. Raises ValueError that names one which is
        none."""
        by_name = {request.custom_id: request for request in requests}
        done: dict[str, bool] = {}
        torn = []
        for file in self._files():
            for number, (offset, line) in enumerate(file.lines(), 1):
                place = f"{file.path}: line {number}"
                if line.endswith(b"\n"):
                    name, failed = _read(line, by_name, place)
                    if name in done:
                        raise ValueError(f"{place}: it answers custom_id {json.dumps(name)} a second time")
                    done[name] = failed
                elif _is_ours(line):
                    torn.append((file, offset))
                else:
                    raise ValueError(f"{place}: this is no answer of a batch; name another file")
        for file, size in torn:
            file.cut(size)
        return done

    def add(self, request: Request, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bool:
        """Notes what came of a request; whether that was a failure."""
        failed = response is None or _has_failed(response)
        line = {"id": request.id, "custom_id": request.custom_id, "response": response, "error": error}
        file = self._errors if failed and self._errors is not None else self._output
        # What UTF-8 cannot hold, half of a surrogate pair, is written as JSON's own escape.
        file.add(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        return failed

    def save(self) -> None:
        """Writes what has been noted. From any thread. Raises OSError."""
        for file in self._files():
            file.save()

    def _files(self) -> Iterable[LineFile]:
        return (self._output,) if self._errors is None else (self._output, self._errors)


def _read(line: bytes, requests: dict[str, Request], place: str) -> tuple[str, bool]:
    """The custom_id of an answer, and whether it tells of a failure."""
    try:
        answer = json.loads(line)
        name, ident, response = answer["custom_id"], answer["id"], answer["response"]
        failed = response is None or _has_failed(response)
    except (KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{place}: this is no answer of a batch; name another file") from None
    request = requests.get(name) if isinstance(name, str) else None
    if request is None:
        raise ValueError(f"{place}: custom_id {json.dumps(name)} is not in the input; name another file")
    if request.id != ident:
        said = f"custom_id {json.dumps(name)} asks for something else in the input"
        raise ValueError(f"{place}: {said}; name another file")
    return name, failed


def _has_failed(response: dict[str, Any]) -> bool:
    return bool(response["status_code"] != 200)


def _is_ours(torn: bytes) -> bool:
    # After a loss of power a file may end in zeros.
    begun = torn.rstrip(b"\0")
    return begun.startswith(_BEGINNING) or _BEGINNING.startswith(begun)
