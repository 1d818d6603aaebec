"""What many clients saw, in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rustllm.bench.stream import Answer


@dataclass(frozen=True)
class Goals:
    """What a request must keep to count into the goodput."""

    #: Seconds to the first token.
    ttft: float = 1.0
    #: Seconds of each further token, on average.
    tpot: float = 0.1


@dataclass(frozen=True)
class Summary:
    """One row. Times are milliseconds."""

    test: str
    clients: int | None
    rate: float | None
    requests: int
    n_prompt: float
    n_gen: float
    #: Tokens of all answers by the seconds from the first request to the last answer's end.
    tokens_per_second: float
    #: The same while all clients of a closed loop were streaming; None where they never were.
    steady_tokens_per_second: float | None
    ttft_p50: float
    ttft_p99: float
    #: Time per output token after the first, of each request.
    tpot_p50: float
    tpot_p99: float
    #: Gaps between two events of a stream.
    itl_p50: float
    itl_p99: float
    #: Requests a second that kept the goals.
    goodput: float
    #: Seconds, and the load generator's own seconds of processor time.
    wall: float
    load_cpu: float

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def summarize(
    answers: Sequence[Answer],
    goals: Goals,
    *,
    test: str,
    clients: int | None,
    rate: float | None,
    wall: float,
    cpu: float,
) -> Summary:
    """Sums up complete answers, of which there must be one or more."""
    ttft = [first_token(answer) for answer in answers]
    tpot = [per_token(answer) for answer in answers]
    gaps = [gap for answer in answers for gap in event_gaps(answer)]
    kept = sum(a <= goals.ttft and b <= goals.tpot for a, b in zip(ttft, tpot, strict=True))
    return Summary(
        test=test,
        clients=clients,
        rate=rate,
        requests=len(answers),
        n_prompt=sum(answer.n_prompt for answer in answers) / len(answers),
        n_gen=sum(answer.n_tokens for answer in answers) / len(answers),
        tokens_per_second=sum(answer.n_tokens for answer in answers) / wall,
        steady_tokens_per_second=steady_rate(answers, clients) if clients else None,
        ttft_p50=1e3 * quantile(ttft, 0.5),
        ttft_p99=1e3 * quantile(ttft, 0.99),
        tpot_p50=1e3 * quantile(tpot, 0.5),
        tpot_p99=1e3 * quantile(tpot, 0.99),
        itl_p50=1e3 * quantile(gaps, 0.5),
        itl_p99=1e3 * quantile(gaps, 0.99),
        goodput=kept / wall,
        wall=wall,
        load_cpu=cpu,
    )


def first_token(answer: Answer) -> float:
    """Seconds from the request to the first text."""
    return (answer.ended if answer.first is None else answer.first) - answer.began


def per_token(answer: Answer) -> float:
    """Seconds of each token after the first; 0 where there is only one."""
    if answer.first is None or answer.n_tokens < 2:
        return 0.0
    return (answer.arrivals[-1][0] - answer.first) / (answer.n_tokens - 1)


def event_gaps(answer: Answer) -> list[float]:
    """Seconds between the events of a stream; those that came in one read have none between them."""
    gaps: list[float] = []
    for (before, _), (now, n) in zip(answer.arrivals, answer.arrivals[1:], strict=False):
        gaps += [now - before, *([0.0] * (n - 1))]
    return gaps


def steady_rate(answers: Sequence[Answer], clients: int) -> float | None:
    """Tokens a second over all times at which `clients` answers were streaming at once; None where there were none."""
    marks = sorted(mark for answer in answers if answer.first for mark in ((answer.first, 1), (answer.ended, -1)))
    windows, streaming, began = [], 0, 0.0
    for when, change in marks:
        if streaming == clients:
            windows.append((began, when))
        streaming, began = streaming + change, when
    seconds = sum(end - start for start, end in windows)
    tokens = sum(_tokens_within(answer, windows) for answer in answers)
    return tokens / seconds if seconds > 0.0 else None


def _tokens_within(answer: Answer, windows: Sequence[tuple[float, float]]) -> float:
    inside = sum(n for when, n in answer.arrivals for start, end in windows if start < when <= end)
    # A stream has a few events without a token: its role, its end, the usage.
    return inside * answer.n_tokens / max(1, sum(n for _, n in answer.arrivals))


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that is not below `part` of all; 0 where there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]
