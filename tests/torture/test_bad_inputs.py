"""Any bytes in: the answer that the class promises, in time; memory comes back, and a good request that runs beside
the attack is answered with the same bits as before it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.attack import (
    GROWTH_BYTES,
    KEY,
    Row,
    Target,
    Witness,
    error_of,
    idle,
    repeated,
    resident_bytes,
    witness,
)
from tests.support.server import Answer, running
from tests.torture.conftest import Report
from tests.torture.rows import ROWS
from tests.torture.rows.connections import MAX_BODY, TIMEOUT


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    slots = tmp_path_factory.mktemp("outside") / "slots"
    slots.mkdir()
    limits = ("--timeout", str(TIMEOUT), "--max-body-bytes", str(MAX_BODY), "--slot-save-path", str(slots))
    # As llama-server takes it, which serves images of that directory; here it gives nobody anything.
    media = ("--media-path", str(slots))
    serving = ("-c", "1024", "-np", "2", "--embeddings", "--pooling", "mean", "--metrics", "--api-key", KEY)
    for server in running(*serving, *limits, *media, "-lv", "1"):
        server.client.headers["Authorization"] = f"Bearer {KEY}"
        yield Target(server, slots)


@pytest.fixture(scope="module")
def good(target: Target) -> Witness:
    return witness(target.server)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(target: Target, good: Witness, row: Row, report: Report) -> None:
    pid = target.server.process.pid
    with good.watching():
        tries, growth = repeated(lambda: attempt(target, row), lambda: resident_bytes(pid))
    assert idle(target.server)
    report.add(row.kind, tries, growth=growth)
    assert growth <= GROWTH_BYTES, f"{growth} bytes more after {tries} tries"


def attempt(target: Target, row: Row) -> None:
    """One try of a row, whose answer must be that of its class. One that comes late is tried again, since it may
    be the machine that is busy."""
    for _ in range(3):
        started = time.monotonic()
        answer = row.send(target)
        took = time.monotonic() - started
        check(row, answer)
        if took < row.within:
            return
    pytest.fail(f"{took:.2f} s, three times; allowed: {row.within} s")


def check(row: Row, answer: Answer) -> None:
    """The status and the shape, which is that of the route's API."""
    assert answer.status in row.statuses, answer.body
    if answer.status < 400 or answer.body is None:
        return
    message, param = error_of(answer)
    assert message
    assert "Traceback" not in message
    if row.param is not None:
        # Where the shape has no place for the field, its name stands in the message.
        assert row.param in message if param is None else param.startswith(row.param), answer.body
    assert row.says in message, message
