"""What is made of the answers that clients saw."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from rustllm.bench import load
from rustllm.bench.latency import Goals, event_gaps, per_token, quantile, steady_rate, summarize
from rustllm.bench.stream import Answer, ask, request_bytes


def answer(client: int, began: float, arrivals: Sequence[tuple[float, int]], n_tokens: int) -> Answer:
    return Answer(
        client, began, first=arrivals[0][0], ended=arrivals[-1][0], n_prompt=7, n_tokens=n_tokens, arrivals=[*arrivals]
    )


def test_quantiles() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert quantile(values, 0.5) == 50.0
    assert quantile(values, 0.99) == 99.0
    assert quantile(values, 1.0) == 100.0
    assert quantile([3.0], 0.01) == 3.0
    assert quantile([], 0.5) == 0.0


def test_times() -> None:
    one = answer(0, 1.0, [(1.5, 1), (2.0, 2), (2.25, 1)], 4)
    assert event_gaps(one) == [0.5, 0.0, 0.25]
    assert per_token(one) == 0.25
    assert per_token(answer(0, 1.0, [(1.5, 1)], 1)) == 0.0


def test_the_steady_rate_counts_only_while_all_stream() -> None:
    # Both stream from 2 to 3, where six of their tokens come.
    first = answer(0, 0.0, [(1.0, 1), (1.5, 1), (2.5, 2), (3.0, 2)], 6)
    second = answer(1, 0.0, [(2.0, 1), (2.25, 2), (3.5, 3)], 6)
    assert steady_rate([first, second], 2) == pytest.approx(6.0)
    apart = answer(1, 4.0, [(5.0, 1), (6.0, 1)], 2)
    assert steady_rate([first, apart], 2) is None


def test_goodput_counts_requests_that_keep_both_goals() -> None:
    good = answer(0, 0.0, [(0.5, 1), (1.0, 1)], 2)
    late = answer(1, 0.0, [(2.0, 1), (2.5, 1)], 2)
    slow = answer(2, 0.0, [(0.5, 1), (9.0, 1)], 2)
    found = summarize([good, late, slow], Goals(1.0, 0.6), test="x", clients=None, rate=1.0, wall=10.0, cpu=0.1)
    assert found.goodput == pytest.approx(0.1)
    assert found.tokens_per_second == pytest.approx(0.6)
    assert found.ttft_p50 == pytest.approx(500.0)
    assert found.ttft_p99 == pytest.approx(2000.0)
    assert found.steady_tokens_per_second is None
    assert set(found.as_dict()) >= {"ttft_p99", "tpot_p50", "goodput", "load_cpu", "tokens_per_second"}


def reply(parts: Sequence[bytes]) -> Answer:
    """What is read of a server that sends `parts`, one write each."""

    async def run() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = urlsplit(f"http://127.0.0.1:{port}")
        async with server:
            return await ask(url, request_bytes(url, "hello", 4), 0)

    return asyncio.run(run())


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\r\n"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":9}}\n\ndata: [DONE]\n\n'


def token(text: bytes) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"' + text + b'"}}]}\n\n'


def test_events_are_counted_wherever_they_are_cut() -> None:
    whole = HEAD + ROLE + token(b"data: {") + token(b"b") + USAGE
    for size in (1 << 20, 40, 7):
        found = reply([whole[at : at + size] for at in range(0, len(whole), size)])
        assert found.error is None
        assert sum(n for _, n in found.arrivals) == 4
        assert (found.n_tokens, found.n_prompt) == (2, 9)


def test_the_first_token_is_the_first_text() -> None:
    found = reply([HEAD, ROLE, token(b""), token(b"a"), token(b"b") + USAGE])
    assert found.first is not None
    assert found.first == found.arrivals[2][0]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([b'HTTP/1.1 503 Busy\r\n\r\n{"error":"loading"}'], "loading"),
        ([HEAD, token(b"a")], "ended early"),
        ([b""], "no answer"),
    ],
)
def test_failures(parts: list[bytes], words: str) -> None:
    found = reply(parts)
    assert found.error is not None
    assert words in found.error


def test_nobody_listens() -> None:
    with pytest.raises(RuntimeError, match="2 of 2 requests failed"):
        load.closed(load.Load("http://127.0.0.1:9", requests=1), 2)


def test_prompts_differ_from_the_first_words_on_and_can_be_repeated() -> None:
    asked = load.Load("localhost:1", n_prompt=20)
    again = [load.Prompts(asked, "a").next() for _ in range(2)]
    assert again[0] == again[1]
    prompts = load.Prompts(asked, "a")
    assert len({prompts.next() for _ in range(50)}) == 50
