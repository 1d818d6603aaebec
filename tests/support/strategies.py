"""Hypothesis strategies for requests that no server should fall over."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Examples of each property; CI takes few, a long run sets the variable.
EXAMPLES = int(os.environ.get("RUSTLLM_FUZZ_EXAMPLES", "60"))

BUDGET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RUSTLLM_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

#: Names of files: mostly of the characters that lead out of a directory.
FILE_NAMES = st.text(st.sampled_from("./\\ab \0\n~$:*\u202e\ud800é") | st.characters(), max_size=12)

#: Fields by what they take.
INTEGERS = ("n_predict", "max_tokens", "max_completion_tokens", "n", "n_cmpl", "n_indent", "seed",
            "top_k", "repeat_last_n", "dry_allowed_length", "mirostat",
            "n_probs", "min_keep", "n_keep", "n_discard", "id_slot", "dry_penalty_last_n",
            "t_max_predict_ms", "min_tokens")  # fmt: skip
FLOATS = ("temperature", "top_p", "min_p", "xtc_probability", "typical_p", "repeat_penalty", "presence_penalty",
          "frequency_penalty", "dry_multiplier", "dry_base", "mirostat_tau", "mirostat_eta", "top_n_sigma",
          "dynatemp_range", "dynatemp_exponent", "xtc_threshold", "typ_p", "adaptive_target",
          "adaptive_decay")  # fmt: skip
BOOLEANS = ("stream", "ignore_eos", "cache_prompt", "post_sampling_probs", "return_progress", "timings_per_token",
            "return_tokens", "verbose", "include_stop_str_in_output")  # fmt: skip
STRINGS = ("grammar", "reasoning_format")
LISTS = ("dry_sequence_breakers", "response_fields")

WRONG_FOR: dict[str, list[Any]] = {
    **{name: [True, "5", 1.5, [], {}, [1]] for name in INTEGERS},
    **{name: [True, "0.5", [], {}, [1]] for name in FLOATS},
    **{name: ["true", 1, 0.0, [], {}] for name in BOOLEANS},
    **{name: [True, 5, 1.5, [], {}] for name in STRINGS},
    **{name: [True, 5, "x", {}, [1]] for name in LISTS},
    "stop": [True, 5, 1.5, {}, [1], [None]],
    "samplers": [True, 5, 1.5, {}, [1]],
    "logit_bias": [True, 5, 1.5, "x", [1], [[]], [[1]], [[1, "x"]], [[None, 1]], {"1": "x"}],
    "lora": [True, 5, "x", {}, [1]],
    "cache_salt": [True, 5, 1.5, [], {}],
    "stop_token_ids": [True, 5, "x", {}, ["1"], [None], [True], [1.5]],
    "json_schema": [5, 1.5, "x", [], [1]],
    "prompt": [True, 5, 1.5, None, {}, [None], [1.5], [[[1]]]],
}

#: Every field with every kind of value that it does not take.
WRONG_FIELDS = st.sampled_from([(name, value) for name, values in WRONG_FOR.items() for value in values])

#: Numbers with the fields that do not take them, each of which has a range.
NUMBERS_OUT_OF_RANGE = [
    *((name, value) for name in ("n_predict", "max_tokens", "repeat_last_n", "dry_penalty_last_n", "n_keep", "id_slot",
                                 "t_max_predict_ms") for value in (-2, 2**31, 2**63, 2**64 - 1, -(2**63))),
    *((name, value) for name in ("n", "n_probs", "min_keep", "n_discard", "min_tokens", "dry_allowed_length")
      for value in (-1, 2**31, 2**63, 2**64 - 1, -(2**63))),
    *((name, value) for name in ("top_k", "seed") for value in (2**32, 2**64 - 1, -(2**40))),
    *((name, value) for name in ("temperature", "repeat_penalty", "presence_penalty", "min_p", "mirostat_tau")
      for value in (1e39, 1e308)),
]  # fmt: skip

OUT_OF_RANGE = st.sampled_from(
    [
        *NUMBERS_OUT_OF_RANGE,
        ("samplers", ["top_k"] * 500_000),
        ("samplers", ["nothing"] * 65),
        ("samplers", "k" * 500_000),
        ("response_fields", ["content"] * 500_000),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", [2**40]),
        ("n_predict", -2),
        ("max_tokens", 2**63),
        ("seed", 2**64),
        ("seed", -2),
        ("top_p", -0.1),
        ("min_p", 2),
        ("min_p", -1),
        ("repeat_penalty", 1e30),
        ("frequency_penalty", -1e9),
        ("n", 0),
        ("n", 10**9),
        ("n_probs", 10**6),
        ("n_probs", -1),
        ("mirostat", 3),
        ("id_slot", 99),
        ("stop", ["x"] * 1000),
        ("stop", ["x" * 10_000]),
        ("stop", [1]),
        ("logit_bias", [[-1, 1]]),
        ("logit_bias", [[10**9, 1]]),
        ("logit_bias", [[5]]),
        ("logit_bias", [[5, True]]),
        ("logit_bias", {"5": "much"}),
        ("dry_sequence_breakers", ["x"] * 1000),
        ("grammar", "root ::= ("),
        ("grammar", "(" * 60_000),
        ("grammar", 'root ::= "a"{3,2}'),
        ("grammar", 'root ::= "a"{1,1000000000}'),
        ("grammar", "root ::= root"),
        ("stop", ["x"] * 500_000),
        ("stop", ["x" * 1_000_000]),
        ("logit_bias", [[1, 1.0]] * 500_000),
        ("n_predict", 2**63),
        ("seed", 2**32),
        ("temperature", 1e308),
        ("presence_penalty", 1e30),
        ("repeat_last_n", -2),
        ("dry_penalty_last_n", -2),
        ("min_keep", -1),
        ("n_keep", -2),
        ("n_discard", -1),
        ("n_discard", 2**63),
        ("top_k", 2**40),
        ("prompt", []),
        ("prompt", [512]),
        ("prompt", [-1]),
        ("prompt", ["x"] * 1_000_000),
        ("prompt", "a" * 20_000),
        ("grammar", 'root ::= "a'),
        ("grammar", "root ::= missing"),
        ("grammar", 'start ::= "a"'),
        ("grammar", "root ::= a\na ::= b\nb ::= a"),
        ("grammar", "root ::= [z-a]"),
        ("json_schema", True),
        ("json_schema", []),
        ("json_schema", {"type": 123}),
        ("json_schema", {"$ref": "https://example.org/schema.json"}),
        ("json_schema", {"type": "string", "maxLength": 10**9}),
        ("json_schema", {"type": "integer", "minimum": 3, "maximum": 1}),
        ("json_schema", {"type": "string", "pattern": "("}),
        ("json_schema", {"type": "string", "pattern": "|".join(["ab"] * 100_000)}),
        ("json_schema", {"properties": {f"p{i}": {"type": "string"} for i in range(10_000)}}),
        ("json_schema", 123),
        ("json_schema", {"type": "hiccup"}),
        ("json_schema", {"$ref": "#"}),
        ("json_schema", {"type": "array", "minItems": 10**9}),
        ("json_schema", {"type": "string", "pattern": "(?<=x)y"}),
    ]
)

_BAD_INPUTS: list[Any] = [
    *(True, 5, 1.5, [], [True], [None], [1.5], [[1.5]], [[[1]]], {"a": 1}, {"prompt_string": 5}),
    *([{"prompt_string": "x", "multimodal_data": ["x"]}], [-1], [[2**31]], [2**70], [[]]),
]

#: Fields of the embedding endpoints with values of types that they do not take.
EMBEDDING_WRONG = st.sampled_from(
    [
        *(("input", value) for value in _BAD_INPUTS),
        *(("encoding_format", value) for value in (True, 5, "hex", "", [], {})),
        *(("dimensions", value) for value in (True, "5", 1.5, [], {})),
        *(("embd_normalize", value) for value in (True, "2", 1.5, [], {})),
        *(("user", value) for value in (True, 5, [], {})),
        *(("model", value) for value in (True, 5, [], {})),
    ]
)

EMBEDDING_OUT_OF_RANGE = st.sampled_from(
    [
        ("dimensions", 0),
        ("dimensions", -1),
        ("dimensions", 65),
        ("dimensions", 2**70),
        ("embd_normalize", -2),
        ("embd_normalize", 2**31),
        ("embd_normalize", -(2**70)),
        ("input", ["x"] * 2049),
        ("input", ["x"] * 500_000),
        ("input", [1] * 500_000),
        ("input", [1] * 2_000_000),
        ("input", [[1]] * 3000),
        ("input", "the " * 100_000),
        ("input", [10**9]),
    ]
)

#: Fields of the rerank endpoints with values that they do not take.
RERANK_WRONG = st.sampled_from(
    [
        *(("query", value) for value in (True, 5, None, [], {}, ["x"])),
        *(("documents", value) for value in (True, 5, "x", [], {}, [5], [None], [["x"]], [{"text": "x"}])),
        *(("texts", value) for value in (True, 5, "x", [], {}, [5], [None])),
        *(("top_n", value) for value in (True, "1", 1.5, [], {}, -1, -(2**70))),
        *(("return_documents", value) for value in (1, "true", [])),
        *(("return_text", value) for value in (1, "true", [])),
        ("documents", ["x"] * 2049),
        ("documents", [1] * 2_000_000),
        ("texts", ["x"] * 500_000),
        ("documents", ["the " * 5000]),
    ]
)
