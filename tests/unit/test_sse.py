"""Events of streams."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.engine import GenerationError
from rustllm.server.errors import ApiError
from rustllm.server.resumable import Streams
from rustllm.server.sse import TextEvents
from tests.support.streaming import Client, Output, Texts, turns


@given(st.text(), st.text())
def test_an_event_written_in_parts_is_the_event_written_whole(text: str, model: str) -> None:
    event = {"choices": [{"index": 0, "delta": {"content": "\0text"}}], "model": model}
    written = TextEvents(event).event(text)
    assert written.startswith(b"data: ")
    assert written.endswith(b"\n\n")
    assert json.loads(written[6:]) == {"choices": [{"index": 0, "delta": {"content": text}}], "model": model}
    assert written.count(b"\n") == 2


@pytest.mark.parametrize("direct", [True, False])
def test_a_stream_of_two_jobs(direct: bool) -> None:
    async def run() -> Client:
        client = Client(direct=direct)
        beginning = asyncio.ensure_future(client.begin(parts=2))
        await turns()
        assert not beginning.done(), "nothing has come yet"
        client.give(1, Output("a "), Output("b "))
        answer = asyncio.ensure_future((await beginning)(client.scope, client.receive, client.send))
        await turns()
        client.give(1, Output("c "))
        await turns()
        assert client.body == b"a b c ", "each is sent when it comes"
        client.give(1, Output("d ", "done"))
        await turns()
        client.give(2, Output("e ", "done"))
        await answer
        return client

    client = asyncio.run(run())
    assert client.body == b"a b c d end e end data: [DONE]\n\n"
    assert client.messages[0]["status"] == 200
    assert [message.get("more_body") for message in client.messages[-1:]] == [False]
    assert client.aborted == []


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("last", [Output("fail"), Output(kind="error", error="out of luck")])
def test_what_fails_in_a_stream_is_its_last_event(direct: bool, last: Output) -> None:
    async def run() -> Client:
        client = Client(direct=direct)
        beginning = asyncio.ensure_future(client.begin())
        await turns()
        client.give(1, Output("a "))
        answer = asyncio.ensure_future((await beginning)(client.scope, client.receive, client.send))
        await turns()
        client.give(1, last, Output("never"))
        await answer
        return client

    client = asyncio.run(run())
    begun, _, error = client.body.partition(b"data: ")
    assert begun == b"a "
    assert json.loads(error)["error"]["message"] == (last.error or "internal error: ValueError")
    assert client.aborted == [1]


def test_what_fails_before_a_stream_is_raised() -> None:
    async def run() -> None:
        client = Client(direct=True)
        beginning = asyncio.ensure_future(client.begin())
        await turns()
        client.give(1, Output(kind="error", error="out of luck"))
        await beginning

    with pytest.raises(GenerationError, match="out of luck"):
        asyncio.run(run())


@pytest.mark.parametrize("begun", [True, False])
def test_a_client_that_leaves_ends_its_request(begun: bool) -> None:
    async def run() -> Client:
        client = Client(direct=True)
        beginning = asyncio.ensure_future(client.begin())
        await turns()
        if begun:
            client.give(1, Output("a "))
            answer = asyncio.ensure_future((await beginning)(client.scope, client.receive, client.send))
            await turns()
        client.gone.set()
        if begun:
            await answer
        else:
            with pytest.raises(ApiError) as raised:
                await beginning
            assert raised.value.status == 499
        assert client.engine.active == 0
        return client

    assert asyncio.run(run()).aborted == [1]


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("name", [None, "a"])
@pytest.mark.parametrize("leaves", ["never", "in the stream", "before it"])
def test_nothing_of_a_stream_waits_for_the_garbage_collector(direct: bool, name: str | None, leaves: str) -> None:
    """What makes the events knows the request, which may be large."""

    class Known(Texts):
        pass

    async def run() -> weakref.ref[Known]:
        events = Known()
        known = weakref.ref(events)
        client, streams = Client(direct=direct), Streams()
        beginning = asyncio.ensure_future(client.begin(name=name, streams=streams, events=events))
        del events
        await turns()
        if leaves == "before it":
            client.gone.set()
            with pytest.raises(ApiError):
                await beginning
        else:
            client.give(1, Output("a"))
            answer = client.get(await beginning)
            await turns()
            if leaves == "in the stream":
                client.gone.set()
            else:
                client.give(1, Output(kind="done"))
            await answer
            del answer
        del beginning
        streams.close()
        await turns()
        return known

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()
