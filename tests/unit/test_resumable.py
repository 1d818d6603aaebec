"""Streams whose connection breaks."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.engine import GenerationError
from rustllm.server import resumable
from rustllm.server.errors import ApiError
from rustllm.server.native.streams.schemas import LookupRequest
from rustllm.server.native.streams.service import lookup, stream_at
from rustllm.server.resumable import Replay, Streams
from tests.support.streaming import Client, Output, turns

END = b"end data: [DONE]\n\n"


async def begun(client: Client, streams: Streams, name: str, request_id: int, text: str) -> asyncio.Future[None]:
    """A named stream of which `text` has come, on its way to the client."""
    beginning = asyncio.ensure_future(client.begin(name=name, streams=streams))
    await turns()
    client.give(request_id, Output(text))
    answer = client.get(await beginning)
    await turns()
    return answer


def back(client: Client, streams: Streams, name: str, offset: int) -> tuple[Client, asyncio.Future[None]]:
    """Another connection that goes on with a stream."""
    other = Client(direct=bool(client.scope["extensions"]), engine=client.engine)
    session, at = stream_at(streams, name, str(offset))
    return other, other.get(Replay(other.request(), session, at))


@pytest.mark.parametrize("direct", [True, False])
@given(
    texts=st.lists(st.text("ab é", min_size=1, max_size=5), min_size=1, max_size=6),
    leaves=st.integers(0, 6),
    comes=st.integers(0, 6),
    had=st.floats(0, 1),
    data=st.integers(1, 9),
)
def test_who_comes_back_gets_the_rest(
    direct: bool, texts: list[str], leaves: int, comes: int, had: float, data: int
) -> None:
    """Nothing is lost and nothing comes twice, whenever the client leaves and comes back, and however much
    of what was sent it had got."""

    async def run() -> tuple[bytes, bytes]:
        client, streams = Client(direct=direct), Streams()
        answer = await begun(client, streams, "a", 1, "first ")
        other: tuple[Client, asyncio.Future[None]] | None = None
        first = b""
        for index, text in enumerate([*texts, ""]):
            if index == min(leaves, len(texts)):
                client.gone.set()
                await answer
                first = client.body[: round(had * len(client.body))]
            if client.gone.is_set() and other is None and index >= comes:
                other = back(client, streams, "a", len(first))
            if index % data == 0:
                await turns()
            client.give(1, Output(text, "token" if index < len(texts) else "done"))
        await turns()
        other = other or back(client, streams, "a", len(first))
        await other[1]
        assert client.aborted == []
        return first, other[0].body

    first, rest = asyncio.run(run())
    assert first + rest == ("first " + "".join(texts)).encode() + END


def test_several_read_the_same_stream() -> None:
    async def run() -> list[bytes]:
        client, streams = Client(direct=True), Streams()
        answers = [await begun(client, streams, "a", 1, "x ")]
        others = [back(client, streams, "a", offset) for offset in (0, 1, 2)]
        client.give(1, Output("y ", "done"))
        await asyncio.gather(*answers, *(answer for _, answer in others))
        return [client.body, *(other.body for other, _ in others)]

    whole = b"x y " + END
    assert asyncio.run(run()) == [whole, whole, whole[1:], whole[2:]]


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_stream_that_is_stopped_ends(direct: bool, replaced: bool) -> None:
    async def run() -> Client:
        client, streams = Client(direct=direct), Streams()
        answer = await begun(client, streams, "a", 1, "x ")
        if replaced:
            # One name has one stream.
            other = Client(direct=direct, engine=client.engine)
            await begun(other, streams, "a", 2, "new ")
            assert [session.n_bytes for session in streams.find(["a"])] == [4]
        else:
            streams.stop("a")
            assert streams.find(["a"]) == []
        await answer
        streams.close()
        await turns()
        assert client.engine.active == 0
        return client

    client = asyncio.run(run())
    assert client.body == b"x ", "what was stopped does not say that it is done"
    assert client.aborted == ([1, 2] if replaced else [1])


def test_a_stream_that_nobody_reads_ends() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams(keep_seconds=0.05)
        answer = await begun(client, streams, "a", 1, "x ")
        await asyncio.sleep(0.15)
        assert client.aborted == [], "it is read"
        client.gone.set()
        await answer
        assert streams.are_running
        await asyncio.sleep(0.03)
        # Somebody who comes back starts the time anew.
        other, again = back(client, streams, "a", 0)
        await turns()
        other.gone.set()
        await again
        await asyncio.sleep(0.03)
        assert client.aborted == []
        await asyncio.sleep(0.1)
        assert client.aborted == [1]
        assert streams.find(["a"]) == []
        assert client.engine.active == 0

    asyncio.run(run())


def test_a_stream_that_has_ended_is_kept_for_a_while() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams(keep_seconds=0.05)
        answer = await begun(client, streams, "a", 1, "x ")
        client.give(1, Output("y ", "done"))
        await answer
        other, again = back(client, streams, "a", 2)
        await again
        assert other.body == b"y " + END
        await asyncio.sleep(0.1)
        with pytest.raises(ApiError, match="not found") as raised:
            back(client, streams, "a", 0)
        assert raised.value.status == 404

    asyncio.run(run())


def test_what_fails_before_a_stream_leaves_nothing_behind() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        beginning = asyncio.ensure_future(client.begin(name="a", streams=streams))
        await turns()
        client.give(1, Output(kind="error", error="out of luck"))
        with pytest.raises(GenerationError, match="out of luck"):
            await beginning
        assert streams.find(["a"]) == []

    asyncio.run(run())


def test_what_fails_in_a_stream_is_there_for_who_comes_back() -> None:
    async def run() -> bytes:
        client, streams = Client(direct=True), Streams()
        answer = await begun(client, streams, "a", 1, "x ")
        client.gone.set()
        await answer
        client.give(1, Output(kind="error", error="out of luck"))
        await turns()
        other, again = back(client, streams, "a", 2)
        await again
        return other.body

    event = asyncio.run(run()).removeprefix(b"data: ")
    assert json.loads(event)["error"]["message"] == "out of luck"


def test_a_client_that_leaves_before_the_first_event_finds_its_stream() -> None:
    async def run() -> bytes:
        client, streams = Client(direct=True), Streams()
        beginning = asyncio.ensure_future(client.begin(name="a", streams=streams))
        await turns()
        client.gone.set()
        with pytest.raises(ApiError):
            await beginning
        client.give(1, Output("x ", "done"))
        await turns()
        other, again = back(client, streams, "a", 0)
        await again
        return other.body

    assert asyncio.run(run()) == b"x " + END


def test_one_that_is_stopped_before_its_first_event_says_so() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        beginning = asyncio.ensure_future(client.begin(name="a", streams=streams))
        await turns()
        streams.stop("a")
        with pytest.raises(ApiError, match="stopped before it began"):
            await beginning
        assert client.aborted == [1]

    asyncio.run(run())


def test_only_the_latest_bytes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MAX_BYTES", 100)

    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        await begun(client, streams, "a", 1, "x" * 60)
        client.give(1, Output("y" * 50), Output("z" * 300))
        (session,) = streams.find(["a"])
        assert (session.n_bytes, session.n_dropped, session.n_kept) == (410, 310, 100)
        for offset, words in ((309, "is lost"), (411, "no place"), (-1, "no place")):
            with pytest.raises(ApiError, match=f"from: .*{words}.*; allowed: 310 to 410") as raised:
                back(client, streams, "a", offset)
            assert (raised.value.status, raised.value.param) == (400, "from")
        other, again = back(client, streams, "a", 310)
        await turns()
        client.give(1, Output("end ", "done"))
        await again
        assert other.body == b"z" * 100 + b"end " + END
        assert client.body == b"x" * 60 + b"y" * 50 + b"z" * 300 + b"end " + END, "who was there got all"

    asyncio.run(run())


def test_who_is_too_slow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MAX_BYTES", 100)
    monkeypatch.setattr(resumable, "_PIECE", 10)

    class Slow(Client):
        async def send(self, message: object) -> None:
            await super().send(message)
            await turns(20)

    async def run() -> bytes:
        client, streams = Client(direct=True), Streams()
        await begun(client, streams, "a", 1, "x" * 90)
        slow = Slow(direct=True, engine=client.engine)
        session, at = stream_at(streams, "a", "0")
        answer = slow.get(Replay(slow.request(), session, at))
        await turns(30)
        client.give(1, Output("y" * 95, "done"))
        await answer
        return slow.body

    begun_, _, error = asyncio.run(run()).partition(b"data: ")
    assert 0 < len(begun_) < 90
    assert "is lost" in json.loads(error)["error"]["message"]


def test_all_streams_have_a_common_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MAX_TOTAL_BYTES", 100)

    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        for request_id, name in enumerate("abc", 1):
            answer = await begun(client, streams, name, request_id, name * 30)
            if name == "a":
                client.give(1, Output(kind="done"))
                await answer
        assert [session.name for session in streams.find(["a", "b", "c"])] == ["b", "c"], "what has ended goes first"
        client.give(2, Output("B" * 50))
        b, c = streams.find(["b", "c"])
        assert (b.n_dropped, b.n_kept, c.n_kept) == (10, 70, 30)
        client.give(3, Output("C" * 500))
        assert b.n_kept + c.n_kept == 100

    asyncio.run(run())


def test_the_number_of_streams_is_bounded() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams(max_streams=2)
        first = await begun(client, streams, "a", 1, "x")
        await begun(client, streams, "b", 2, "x")
        with pytest.raises(ApiError, match="2 streams with names are running; allowed: up to 2") as raised:
            await client.begin(name="c", streams=streams)
        assert (raised.value.status, raised.value.param) == (429, resumable.HEADER)
        client.give(1, Output(kind="done"))
        await first
        await begun(client, streams, "c", 3, "x")
        assert [session.name for session in streams.find(["a", "b", "c"])] == ["b", "c"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["x" * 257, "a\tb", "é"])
def test_bad_names_are_refused(name: str) -> None:
    async def run() -> None:
        with pytest.raises(ApiError, match="allowed: 1 to 256 printable ASCII characters") as raised:
            await Client(direct=True).begin(name=name, streams=Streams())
        assert (raised.value.status, raised.value.param) == (400, resumable.HEADER)

    asyncio.run(run())


def test_names_with_a_model_behind_them_are_found() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        for request_id, name in enumerate(("a", "a::story", "a::b::c", "ab"), 1):
            await begun(client, streams, name, request_id, "x")

        def found(*names: str) -> list[str]:
            return [session.name for session in streams.find(names)]

        assert found("a") == ["a", "a::story", "a::b::c"]
        assert found("x", "a::b", "ab") == ["a::b::c", "ab"]

    asyncio.run(run())


def test_names_are_looked_up_once() -> None:
    async def run() -> None:
        client, streams = Client(direct=True), Streams()
        answers = [
            await begun(client, streams, name, number, "x ") for number, name in enumerate(("a", "a::b", "c"), 1)
        ]
        for names, expected in (
            (["a"] * 1000, ["a", "a::b"]),
            (["a::b", "a", "c", "a::b"], ["a::b", "a", "c"]),
            (["d"] * 1000, []),
        ):
            found = lookup(streams, LookupRequest(conversation_ids=names))
            assert [one["conversation_id"] for one in found] == expected
        streams.close()
        await asyncio.gather(*answers)

    asyncio.run(run())
