"""Prometheus metrics from the engine's counts: nothing is counted twice, and nothing between two scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rustllm.server.accounts import Account
from rustllm.server.native.metrics.schemas import KEYS, LLAMA_SERVER, VLLM, Row
from rustllm.server.state import ServerState


class EngineCollector(Collector):
    """Reads the counts whenever it is asked for metrics."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._before: dict[str, float] = {}

    def describe(self) -> list[Metric]:
        """None: the registry would load the model's counts to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics; none while there is no model."""
        model = self.state.model
        if model is None:
            return
        counts = total([*self.state.past_counts, model.native.stats()])
        self.state.past_counts[:] = [total(self.state.past_counts)] if self.state.past_counts else []
        counts["running"] = sum(slot["is_processing"] for slot in model.native.slots())
        counts["waiting"] = model.native.queue_length() + (model.turns.n_waiting if model.turns is not None else 0)
        counts["cache_usage"] = counts["blocks_used"] / counts["blocks"] if counts["blocks"] else 0.0
        counts["drafts"] = 0
        for row in LLAMA_SERVER:
            yield _family("llamacpp:", row, {}, counts[row.source])
        yield from self._averages(counts)
        labels = {"model_name": model.name}
        for row in VLLM:
            yield _family("vllm:", row, labels, counts[row.source])
        ends = CounterMetricFamily(
            "vllm:request_success", "Answers by why they ended.", labels=[*labels, "finished_reason"]
        )
        for reason, number in counts["ends"].items():
            ends.add_metric([*labels.values(), reason], number)
        yield ends
        room = "Tokens that the KV cache has room for; --fit bounds it by memory."
        yield GaugeMetricFamily("rustllm:kv_cache_max_tokens", room, model.native.n_cache_tokens)
        held = "Bytes of bodies that are held beyond the first of each; --max-all-bodies-bytes bounds them."
        yield GaugeMetricFamily("rustllm:held_body_bytes", held, self.state.bodies.n_bytes)
        if self.state.accounts.all:
            yield from _of_keys(self.state.accounts.all)

    def _averages(self, counts: dict[str, Any]) -> Iterator[Metric]:
        """llama-server's rates, which are those since the last scrape."""

        def since(name: str) -> float:
            value: float = counts[name] - self._before.get(name, 0)
            return value

        def rate(tokens: str, seconds: str) -> float:
            return since(tokens) / since(seconds) if since(seconds) > 0 else 0.0

        prompt, predicted = rate("prompt_tokens", "prompt_seconds"), rate("predicted_tokens", "predicted_seconds")
        busy = counts["step_slots"] / counts["steps"] if counts["steps"] else 0.0
        names = ("prompt_tokens", "prompt_seconds", "predicted_tokens", "predicted_seconds")
        self._before = {name: counts[name] for name in names}
        yield GaugeMetricFamily("llamacpp:prompt_tokens_seconds", "Average prompt throughput in tokens/s.", prompt)
        yield GaugeMetricFamily(
            "llamacpp:predicted_tokens_seconds", "Average generation throughput in tokens/s.", predicted
        )
        yield GaugeMetricFamily("llamacpp:n_busy_slots_per_decode", "Average number of slots in a step.", busy)


def total(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of several engines, one after the other, as if it had been one."""
    whole = dict(parts[0])
    for part in parts[1:]:
        for name, value in part.items():
            if name in ("blocks", "blocks_used"):
                whole[name] = value
            elif name == "max_tokens":
                whole[name] = max(whole[name], value)
            elif name == "ends":
                whole[name] = {reason: whole[name][reason] + number for reason, number in value.items()}
            elif isinstance(value, tuple):
                pairs = zip(whole[name][1], value[1], strict=True)
                whole[name] = (whole[name][0] + value[0], [(bound, a + b) for (bound, a), (_, b) in pairs])
            else:
                whole[name] += value
    return whole


def _of_keys(accounts: Sequence[Account]) -> Iterator[Metric]:
    """What each key has asked for, by the key's name."""
    for name, (kind, source, help) in KEYS.items():
        make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        family = make(f"rustllm:{name}", help, labels=["key"])
        for account in accounts:
            family.add_metric([account.name], getattr(account, source))
        yield family
    help = "Requests of a key that were refused, by what was used up."
    refused = CounterMetricFamily("rustllm:key_refused", help, labels=["key", "limit"])
    for account in accounts:
        for limit, number in account.n_refused.items():
            refused.add_metric([account.name, limit], number)
    yield refused


class Metrics:
    """A registry of this server alone."""

    def __init__(self, state: ServerState) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(state))
        # Memory, processor time and open files of the process, where the system tells them.
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self.registry)


def _family(prefix: str, row: Row, labels: dict[str, str], value: Any) -> Metric:
    if row.kind == "histogram":
        total, buckets = value
        family = HistogramMetricFamily(prefix + row.name, row.help, labels=list(labels))
        family.add_metric(list(labels.values()), [(_bound(bound), count) for bound, count in buckets], total)
        return family
    make = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    plain = make(prefix + row.name, row.help, labels=list(labels))
    plain.add_metric(list(labels.values()), value)
    return plain


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)
