"""`rustllm bench` on the embedded model: its rows, their shares, and what it refuses."""

from __future__ import annotations

import json

import pytest

from rustllm._rustllm import ContextExceededError, Engine, InvalidRequestError, measure_limits
from rustllm.bench.rows import Plan, better, main_type
from rustllm.config import EMBEDDED_MODEL
from tests.support.commands import failure, run


def test_json_rows() -> None:
    done = run("bench", "-p", "40", "-n", "4", "-b", "1,3", "-r", "2", "-d", "5", "-o", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["test"], row["n_prompt"], row["n_gen"], row["n_seq"]) for row in rows] == [
        ("prefill", 40, 0, 1),
        ("decode", 0, 4, 1),
        ("decode", 0, 4, 3),
    ]
    for row in rows:
        assert row["tokens_per_second"] > 0.0
        assert row["stddev"] >= 0.0
        assert (row["depth"], row["repeats"], row["type"]) == (5, 2, "F32")
        assert row["model"] == EMBEDDED_MODEL.name
        assert row["n_params"] == 292_800
        assert row["limits"] is None


def test_zero_leaves_a_test_out() -> None:
    for flag, test in (("-p", "decode"), ("-n", "prefill")):
        rows = json.loads(run("bench", "-p", "4", "-n", "2", flag, "0", "-r", "1", "--json").stdout)
        assert [row["test"] for row in rows] == [test]
    assert "n-prompt and n-gen are both 0" in failure(1, "bench", "-p", "0", "-n", "0")


def test_limits_give_shares() -> None:
    rows = json.loads(
        run("bench", "-p", "64", "-n", "8", "-b", "1,4", "-r", "1", "-t", "1", "--limits", "-o", "json").stdout
    )
    prefill, one, four = rows
    assert prefill["share_of_read"] is None
    assert 0.0 < prefill["share_of_compute"] < 1.0
    assert one["share_of_read"] > 0.0
    assert one["share_of_compute"] is None
    assert four["share_of_read"] > 0.0
    assert 0.0 < four["share_of_compute"] < 1.0
    limits = rows[0]["limits"]
    assert limits["n_threads"] == 1
    assert all(limits[name] > 1e8 for name in ("read", "int8", "f32"))


def test_a_rows_limits_are_the_better_ones_around_it() -> None:
    before = {"n_threads": 2, "simd": "avx2", "read": 40e9, "int8": 2e12, "f32": 5e11}
    after = {"n_threads": 2, "simd": "avx2", "read": 70e9, "int8": 1e12, "f32": 6e11}
    assert better(before, after) == {"n_threads": 2, "simd": "avx2", "read": 70e9, "int8": 2e12, "f32": 6e11}


def test_tables() -> None:
    arguments = ("bench", "-p", "8", "-n", "2", "-b", "2", "-r", "1")
    shown = run(*arguments, "-o", "md").stdout.splitlines()
    assert shown[0].startswith("| model | type | threads | test | tokens/s |")
    assert "| decode 2 x 2 |" in shown[3]
    table = run(*arguments).stdout
    assert "prefill 8" in table
    assert "decode 2 x 2" in table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-b", "0"), "'0' is not allowed; allowed: a whole number from 1 up"),
        (("-b", "1,x"), "'x' is not allowed"),
        (("-p", "-1"), "'-1' is not allowed; allowed: a whole number from 0 up"),
        (("-r", "0"), "-r/--repeats"),
        (("--rate", "0"), "'0' is not allowed; allowed: a number above 0"),
        (("-o", "xml"), "invalid choice: 'xml'"),
    ],
)
def test_bad_flags(arguments: tuple[str, ...], words: str) -> None:
    done = run("bench", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_bad_settings() -> None:
    assert "absent.gguf" in failure(1, "bench", "-m", "absent.gguf")
    assert '"q3" is not a cache type' in failure(1, "bench", "-ctk", "q3")
    assert "n_seq: 2000 is out of range; allowed: 1 to 1024" in failure(1, "bench", "-p", "0", "-b", "2000", "-n", "1")
    assert "url: 'ftp://x' is not a server's address" in failure(1, "bench", "--url", "ftp://x")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(EMBEDDED_MODEL, n_ctx=256, n_parallel=1, n_batch=32)


def test_operations_and_bytes_are_the_models(engine: Engine) -> None:
    # 5 layers, 64 wide, 8 heads of which 4 are key-value ones, 172 feed-forward, 512 tokens, an own head.
    layers = 5 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 172)
    head = 64 * 512
    prefill = engine.bench("prefill", 100, repeats=1)
    # Steps of 32 tokens; only the last row reaches the head.
    assert prefill["n_steps"] == 4
    assert prefill["int_ops"] == 0.0
    assert prefill["float_ops"] == 2 * (layers * 100 + head)
    decode = engine.bench("decode", 3, n_seq=2, depth=10, repeats=4)
    assert len(decode["seconds"]) == 4
    assert decode["n_steps"] == 3
    assert decode["float_ops"] == 2 * (layers + head) * 3 * 2
    # Keys and values of 4 heads of 8 in f16, for 10, 11 and 12 tokens of two sequences.
    cache = 5 * 2 * 4 * 8 * 2 * (10 + 11 + 12) * 2
    assert decode["bytes"] == 3 * 4 * (layers + head) + cache


def test_a_measurement_leaves_no_trace(engine: Engine) -> None:
    tokens = engine.tokenizer.encode("Once upon a time")
    before = engine.logits(tokens)
    for _ in range(4):
        # Each takes the whole context, so blocks that are not given back would be missed.
        engine.bench("decode", 16, n_seq=4, depth=48, repeats=1)
    assert engine.logits(tokens) == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_tokens": 0}, "n_tokens: 0 is out of range; allowed: 1 to"),
        ({"n_tokens": 1, "n_seq": 0}, "n_seq: 0 is out of range"),
        ({"n_tokens": 1, "repeats": 0}, "repeats: 0 is out of range"),
        ({"phase": "encode", "n_tokens": 1}, 'phase: "encode" cannot be measured; allowed: prefill, decode'),
    ],
)
def test_bad_measurements(engine: Engine, fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        engine.bench(**{"phase": "decode", **fields})  # type: ignore[arg-type]


def test_what_does_not_fit(engine: Engine) -> None:
    with pytest.raises(ContextExceededError):
        engine.bench("decode", 8, n_seq=4, depth=64)
    with pytest.raises(InvalidRequestError):
        engine.bench("decode", 1, n_seq=4, depth=1 << 62)


def test_the_context_has_room_for_every_row() -> None:
    plan = Plan(EMBEDDED_MODEL, n_prompt=512, n_gen=64, sequences=(1, 8, 16), depth=16)
    assert plan.context() == 16 * 96
    assert Plan(EMBEDDED_MODEL, n_prompt=512, n_gen=0).context() == 512


def test_the_type_is_the_files() -> None:
    assert main_type(EMBEDDED_MODEL) == "F32"


def test_limits_of_a_thread() -> None:
    found = measure_limits(1)
    assert found["n_threads"] == 1
    assert found["simd"] in ("avx512", "avx2", "scalar")
