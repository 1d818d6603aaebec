"""Prefill, decode and batched decode measured as llama-bench does, one row each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rustllm._rustllm import Engine, measure_limits, read_gguf
from rustllm.model_file import file_type

#: Tokens of a cache block, in which a sequence's context is counted.
BLOCK = 32


@dataclass(frozen=True)
class Plan:
    """What is measured: see `rustllm bench --help`."""

    model: Path
    n_prompt: int = 512
    n_gen: int = 128
    sequences: tuple[int, ...] = (1,)
    threads: int = 0
    depth: int = 0
    repeats: int = 5
    step: int = 2048
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    limits: bool = False

    def tests(self) -> Iterator[tuple[str, int, int]]:
        """Phase, tokens and sequences of each row."""
        if self.n_prompt:
            yield "prefill", self.n_prompt, 1
        if self.n_gen:
            for n_seq in self.sequences:
                yield "decode", self.n_gen, n_seq

    def context(self) -> int:
        """Context tokens that the largest row needs."""
        return max(-(-(self.depth + n) // BLOCK) * BLOCK * n_seq for _, n, n_seq in self.tests())


@dataclass(frozen=True)
class Row:
    """One measurement. The rates count the tokens of all sequences together."""

    test: str
    n_prompt: int
    n_gen: int
    n_seq: int
    depth: int
    tokens_per_second: float
    stddev: float
    repeats: int
    model: str
    type: str
    size: int
    n_params: int
    threads: int
    #: Parts of the machine's limits that were reached; None where they were not measured.
    share_of_read: float | None = None
    share_of_compute: float | None = None
    limits: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def measure(plan: Plan, report: Callable[[str], None]) -> Iterator[Row]:
    """Loads the model and measures each row; `report` hears what is being done.

    Raises ValueError where nothing is asked for, and what `Engine.load` and `Engine.bench` raise.
    """
    if not any(plan.tests()):
        raise ValueError("n-prompt and n-gen are both 0; one of them must be above")
    limits = None
    if plan.limits:
        report("measuring the machine")
        limits = measure_limits(plan.threads)
    report("loading")
    engine = Engine.load(
        plan.model,
        n_ctx=plan.context(),
        n_parallel=1,
        n_batch=plan.step,
        n_threads=plan.threads,
        cache_type_k=plan.cache_type_k,
        cache_type_v=plan.cache_type_v,
        prefix_cache=False,
    )
    try:
        for phase, n_tokens, n_seq in plan.tests():
            report(f"{phase} {n_tokens} x {n_seq}")
            run = engine.bench(phase, n_tokens, n_seq=n_seq, depth=plan.depth, repeats=plan.repeats)
            around = limits
            if limits is not None:
                report("measuring the machine")
                before, limits = limits, measure_limits(plan.threads)
                around = better(before, limits)
            yield _row(plan, engine.info, (phase, n_tokens, n_seq), run, around)
    finally:
        engine.shutdown()


def better(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The larger of each limit. A machine that others use too changes within seconds, and a row can have
    had what was there before it or after it."""
    return after | {name: max(before[name], after[name]) for name in ("read", "int8", "f32")}


def _row(
    plan: Plan, info: dict[str, Any], test: tuple[str, int, int], run: dict[str, Any], limits: dict[str, Any] | None
) -> Row:
    phase, n_tokens, n_seq = test
    rates = [n_tokens * n_seq / seconds for seconds in run["seconds"]]
    mean_seconds = statistics.fmean(run["seconds"])
    read, compute = _shares(run, mean_seconds, limits) if limits else (None, None)
    return Row(
        test=phase,
        n_prompt=n_tokens if phase == "prefill" else 0,
        n_gen=n_tokens if phase == "decode" else 0,
        n_seq=n_seq,
        depth=plan.depth,
        tokens_per_second=statistics.fmean(rates),
        stddev=statistics.stdev(rates) if len(rates) > 1 else 0.0,
        repeats=plan.repeats,
        model=plan.model.name,
        type=main_type(plan.model),
        size=info["size"],
        n_params=info["n_params"],
        threads=plan.threads or _cores(),
        # A single row of a prompt is bound by arithmetic, a single sequence's step by memory.
        share_of_read=read if phase == "decode" else None,
        share_of_compute=compute if phase == "prefill" or n_seq > 1 else None,
        limits=limits,
    )


def _shares(run: dict[str, Any], seconds: float, limits: dict[str, Any]) -> tuple[float, float]:
    """The time that memory and arithmetic would need at their limits, as parts of what it took."""
    arithmetic = run["int_ops"] / limits["int8"] + run["float_ops"] / limits["f32"]
    return run["bytes"] / limits["read"] / seconds, arithmetic / seconds


def main_type(model: Path) -> str:
    """The type that llama-quantize was asked for, where the file says it, else its most frequent one."""
    found = read_gguf(model)
    return file_type(found["metadata"], found["types"]).name


def _cores() -> int:
    import os

    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
