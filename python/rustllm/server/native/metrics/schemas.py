"""`/metrics`: the metrics by name, with what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A metric that is read off the engine's counts."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    #: The count that it shows.
    source: str
    help: str


#: llama-server's, without labels. `n_tokens_max` is a gauge here, since a counter's name has to end in `_total`.
LLAMA_SERVER = (
    Row("prompt_tokens_total", "counter", "prompt_tokens", "Number of prompt tokens processed."),
    Row("prompt_tokens_cached_total", "counter", "cache_hits", "Number of prompt tokens reused from the cache."),
    Row("prompt_seconds_total", "counter", "prompt_seconds", "Prompt process time in seconds."),
    Row("tokens_predicted_total", "counter", "predicted_tokens", "Number of generation tokens processed."),
    Row("tokens_predicted_seconds_total", "counter", "predicted_seconds", "Predict process time in seconds."),
    Row("n_decode_total", "counter", "steps", "Steps of the engine that computed something."),
    Row("n_tokens_max", "gauge", "max_tokens", "Most tokens that one sequence has had."),
    Row("requests_processing", "gauge", "running", "Number of requests processing."),
    Row("requests_deferred", "gauge", "waiting", "Number of requests that wait for a slot."),
    Row("spec_decode_num_draft_tokens_total", "counter", "drafts", "Draft tokens; there is no draft model."),
    Row(
        "spec_decode_num_accepted_tokens_total", "counter", "drafts", "Accepted draft tokens; there is no draft model."
    ),
    Row("spec_decode_num_drafts_total", "counter", "drafts", "Drafts; there is no draft model."),
)

#: vLLM's, labelled with the model's name.
VLLM = (
    Row("num_requests_running", "gauge", "running", "Sequences in slots."),
    Row("num_requests_waiting", "gauge", "waiting", "Sequences that wait for a slot."),
    Row("kv_cache_usage_perc", "gauge", "cache_usage", "Share of the KV blocks that running sequences own; 1 is all."),
    Row("prefix_cache_queries_total", "counter", "cache_queries", "Prompt tokens looked up in the cache."),
    Row("prefix_cache_hits_total", "counter", "cache_hits", "Prompt tokens taken from the cache."),
    Row("num_preemptions_total", "counter", "preemptions", "Sequences that gave their blocks up, to be recomputed."),
    Row("prompt_tokens_total", "counter", "cache_queries", "Prompt tokens, computed or taken from the cache."),
    Row("generation_tokens_total", "counter", "predicted_tokens", "Tokens generated."),
    Row(
        "time_to_first_token_seconds",
        "histogram",
        "time_to_first_token",
        "From a request's arrival to its first token.",
    ),
    Row("inter_token_latency_seconds", "histogram", "inter_token", "Between two tokens of an answer."),
    Row("request_queue_time_seconds", "histogram", "queue", "From a request's arrival to its slot."),
    Row("request_prefill_time_seconds", "histogram", "prefill", "From the slot to the first token."),
    Row("request_decode_time_seconds", "histogram", "decode", "From the first token to the last."),
    Row("e2e_request_latency_seconds", "histogram", "whole", "From a request's arrival to the end of its answer."),
    Row("request_prompt_tokens", "histogram", "prompt_lengths", "Tokens of a prompt."),
    Row("request_generation_tokens", "histogram", "answer_lengths", "Tokens of an answer."),
)

#: Ours, labelled with the name of a key: the kind, the account's field and what it is.
KEYS = {
    "key_requests": ("counter", "n_requests", "Requests of a key that were taken."),
    "key_prompt_tokens": ("counter", "n_prompt_tokens", "Prompt tokens of a key's requests."),
    "key_generated_tokens": ("counter", "n_generated_tokens", "Tokens generated for a key."),
    "key_waiting": ("gauge", "n_waiting", "Requests of a key that wait for their turn."),
    "key_running": ("gauge", "n_running", "Requests of a key whose turn it is."),
}
