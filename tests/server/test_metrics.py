"""`/metrics`: counts that agree with what requests report."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rustllm.server.native.metrics.schemas import LLAMA_SERVER, VLLM
from tests.support.server import Server, assert_error, running

PROMPT = {"prompt": "Once upon a time there was a little dog", "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "--metrics", "--alias", "story", "--context-shift")


def samples(server: Server) -> dict[str, float]:
    """Values by name; those with a reason or a bound by name and label."""
    response = server.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    out = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            label = sample.labels.get("le") or sample.labels.get("finished_reason")
            out[sample.name + (f"[{label}]" if label else "")] = sample.value
            if sample.name.startswith("vllm:"):
                assert sample.labels["model_name"] == "story"
    return out


def test_counts_agree_with_the_answers(server: Server) -> None:
    before = samples(server)
    answers = [server.post("/completion", {**PROMPT, "n_predict": n}).body for n in (10, 20, 30)]
    after = samples(server)

    def grown(name: str) -> float:
        return after[name] - before[name]

    timings = [answer["timings"] for answer in answers]
    assert grown("llamacpp:prompt_tokens_total") == sum(t["prompt_n"] for t in timings)
    assert grown("llamacpp:prompt_tokens_cached_total") == sum(t["cache_n"] for t in timings) > 0
    assert grown("vllm:prefix_cache_hits_total") == sum(t["cache_n"] for t in timings)
    assert grown("vllm:prefix_cache_queries_total") == sum(answer["tokens_evaluated"] for answer in answers)
    assert grown("llamacpp:tokens_predicted_total") == grown("vllm:generation_tokens_total") == 60
    assert grown("llamacpp:prompt_seconds_total") == pytest.approx(sum(t["prompt_ms"] for t in timings) / 1e3, rel=0.01)
    seconds = sum(t["predicted_ms"] for t in timings) / 1e3
    assert grown("llamacpp:tokens_predicted_seconds_total") == pytest.approx(seconds, rel=0.2)
    # The first token of each comes with its prompt.
    assert grown("llamacpp:n_decode_total") == 60
    assert grown("vllm:request_success_total[length]") == 3
    assert grown("vllm:request_success_total[error]") == grown("vllm:request_success_total[abort]") == 0
    for name in ("time_to_first_token_seconds", "request_queue_time_seconds", "e2e_request_latency_seconds"):
        assert grown(f"vllm:{name}_count") == 3
        assert grown(f"vllm:{name}_bucket[+Inf]") == 3
    assert grown("vllm:inter_token_latency_seconds_count") == 57
    assert grown("vllm:request_generation_tokens_sum") == 60
    assert after["llamacpp:n_tokens_max"] >= answers[-1]["tokens_evaluated"] + 29
    assert after["llamacpp:prompt_tokens_seconds"] > 0
    assert after["llamacpp:predicted_tokens_seconds"] > 0
    assert after["llamacpp:n_busy_slots_per_decode"] == 1
    # Rates are those since the last scrape.
    assert samples(server)["llamacpp:predicted_tokens_seconds"] == 0


def test_running_and_waiting_requests_show_up(server: Server) -> None:
    # The context shifts, so that none of the three ends by itself.
    body = {**PROMPT, "n_predict": -1, "n": 3, "stream": True}
    with httpx.Client(base_url=server.url) as client, client.stream("POST", "/completion", json=body) as response:
        lines = response.iter_lines()  # letting go of it would end the connection
        next(lines)
        deadline = time.monotonic() + 10
        while (seen := samples(server))["vllm:num_requests_running"] < 2:
            assert time.monotonic() < deadline
    assert 0 < seen["vllm:kv_cache_usage_perc"] <= 1
    assert seen["llamacpp:requests_processing"] == seen["vllm:num_requests_running"] == 2
    assert seen["llamacpp:requests_deferred"] == seen["vllm:num_requests_waiting"] == 1


def test_every_metric_of_the_table_is_there(server: Server) -> None:
    server.post("/completion", {**PROMPT, "n_predict": 2})
    names = set(samples(server))
    for prefix, rows in (("llamacpp:", LLAMA_SERVER), ("vllm:", VLLM)):
        for row in rows:
            wanted = f"{prefix}{row.name}_count" if row.kind == "histogram" else prefix + row.name
            assert wanted in names


def test_histograms_only_grow_with_their_bounds(server: Server) -> None:
    server.post("/completion", {**PROMPT, "n_predict": 8})
    text = server.client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            buckets = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
            assert buckets == sorted(buckets)
            assert buckets[-1] == next(sample.value for sample in family.samples if sample.name.endswith("_count"))


def test_without_the_flag_it_is_501_and_a_key_guards_it() -> None:
    for one in running("--api-key", "secret"):
        assert_error(one.get("/metrics"), 401)
        error = assert_error(one.get("/metrics", headers={"authorization": "Bearer secret"}), 501)
        assert "--metrics" in error["message"]
        assert one.get("/props", headers={"authorization": "Bearer secret"}).body["endpoint_metrics"] is False
