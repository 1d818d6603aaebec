"""Comments in silent streams."""

from __future__ import annotations

import asyncio

from rustllm.server.pings import PING, Pings

E = b"data: 1\n\n"


def test_a_silent_stream_gets_comments_until_it_is_stopped() -> None:
    async def run() -> tuple[list[bytes], int]:
        written: list[bytes] = []
        pings = Pings(written.append, 0.05)
        with pings:
            pings.write(E)
            await asyncio.sleep(0.18)
        n = len(written)
        await asyncio.sleep(0.1)
        return written, n

    written, n = asyncio.run(run())
    assert written[0] == E
    assert set(written[1:]) == {PING}
    assert 1 <= len(written) - 1 <= 3
    assert len(written) == n


def test_a_stream_that_flows_gets_none() -> None:
    async def run() -> list[bytes]:
        written: list[bytes] = []
        pings = Pings(written.append, 1.0)
        with pings:
            for _ in range(15):
                pings.write(E)
                await asyncio.sleep(0.1)
        return written

    assert asyncio.run(run()) == [E] * 15


def test_pings_can_be_switched_off() -> None:
    async def run() -> list[bytes]:
        written: list[bytes] = []
        with Pings(written.append, -1):
            await asyncio.sleep(0.05)
        return written

    assert asyncio.run(run()) == []


def test_no_comment_comes_into_an_event_that_is_written_in_pieces() -> None:
    async def run() -> list[bytes]:
        written: list[bytes] = []
        pings = Pings(written.append, 0.02)
        with pings:
            pings.write(b'data: {"a"')
            await asyncio.sleep(0.1)
            pings.write(b": 1}\n\n")
            n = len(written)
            await asyncio.sleep(0.1)
            assert PING in written[n:]
        return written[:n]

    assert asyncio.run(run()) == [b'data: {"a"', b": 1}\n\n"]
