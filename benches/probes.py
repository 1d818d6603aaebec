"""Two questions to a running server, in a process of its own: what a shared prefix saves, and how long
a long prompt holds up the streams that run beside it. Prints JSON.

Needs rustllm's load generator: run it with the Python that has the package.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
from typing import Any
from urllib.parse import SplitResult

from rustllm.bench.latency import event_gaps, first_token
from rustllm.bench.load import WORDS, split_url
from rustllm.bench.stream import Answer, ask, request_bytes

#: Words of the shared prefix and of the long prompt, about a token each.
PREFIX_WORDS, LONG_WORDS = 2000, 4000

#: Streams beside the long prompt, their tokens, and the seconds before it arrives.
STREAMS, STREAM_TOKENS, HEAD_START = 4, 600, 1.0

TRIES = 3


async def prefix(url: SplitResult) -> dict[str, Any]:
    """Milliseconds to the first token of a long prompt, and of another one that begins with the same words."""
    first, second = [], []
    for index in range(TRIES):
        words = random.Random(f"prefix {index}").choices(WORDS, k=PREFIX_WORDS)
        for times, end in ((first, "What is this?"), (second, "Who wrote that?")):
            times.append(first_token(_good(await ask(url, request_bytes(url, " ".join([*words, end]), 2), 0))))
    return {"first": 1e3 * statistics.median(first), "second": 1e3 * statistics.median(second)}


async def intrusion(url: SplitResult) -> dict[str, Any]:
    """Milliseconds between the events of running streams before a long prompt arrives, and until its first token."""
    streams = [Answer(index, 0.0) for index in range(STREAMS)]
    requests = [request_bytes(url, f"Tell story {index}.", STREAM_TOKENS) for index in range(STREAMS)]
    tasks = [
        asyncio.create_task(ask(url, request, stream.client, stream))
        for request, stream in zip(requests, streams, strict=True)
    ]
    await asyncio.sleep(HEAD_START)
    words = random.Random("intrusion").choices(WORDS, k=LONG_WORDS)
    long = _good(await ask(url, request_bytes(url, " ".join(words), 2), STREAMS))
    await asyncio.gather(*tasks)
    until = long.began + first_token(long)
    before, during = [], []
    for stream in map(_good, streams):
        early = [arrival for arrival in stream.arrivals if arrival[0] < long.began]
        # The gap that the long prompt makes ends after it has begun, so the last event before counts.
        late = early[-1:] + [arrival for arrival in stream.arrivals if long.began <= arrival[0] <= until]
        before += event_gaps(_part(stream, early))
        during += event_gaps(_part(stream, late))
    return {
        "n_prompt": long.n_prompt,
        "ttft": 1e3 * first_token(long),
        "gap_before": 1e3 * statistics.median(before) if before else None,
        "gap_during": 1e3 * statistics.median(during) if during else None,
        "longest_during": 1e3 * max(during, default=0.0),
    }


def _part(stream: Answer, arrivals: list[tuple[float, int]]) -> Answer:
    return Answer(stream.client, stream.began, arrivals=arrivals)


def _good(answer: Answer) -> Answer:
    if answer.error:
        raise RuntimeError(answer.error)
    return answer


async def main() -> None:
    """Asks both."""
    url = split_url(sys.argv[1])
    print(json.dumps({"prefix": await prefix(url), "intrusion": await intrusion(url)}))


if __name__ == "__main__":
    asyncio.run(main())
