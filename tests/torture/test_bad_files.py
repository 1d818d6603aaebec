"""Model files that are not what they say: a clear error when they are loaded, in little memory and with exit status 1.

What is wrong inside of the files has its tests in `tests/rust/malformed_fields.rs` and `malformed_models.rs`; here the
classes pass through the package and the command, in one process, so that what they leave behind would add up.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustllm import LLM, ModelError, SamplingParams
from tests.support.attack import LONG, resident_bytes, settles
from tests.support.model_file import STORY, with_keys
from tests.support.server import Server, assert_error
from tests.torture.conftest import Report

WHOLE = STORY.read_bytes()
#: The metadata's tables end about here; most of what can be wrong with a file stands before.
TABLES = 12_000
#: Mutations of each kind: the long run has 500 in all.
MUTATIONS = 250 if LONG else 40


def counted(at: int, value: int) -> bytes:
    """The file with another count in its header."""
    return WHOLE[:at] + struct.pack("<Q", value) + WHOLE[at + 8 :]


def unsigned(key: str, value: int) -> bytes:
    """The file with another value of a 32-bit key."""
    name = key.encode()
    at = WHOLE.index(struct.pack("<Q", len(name)) + name + struct.pack("<I", 4)) + 8 + len(name) + 4
    return WHOLE[:at] + struct.pack("<I", value) + WHOLE[at + 4 :]


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"G",
    "no GGUF": b"not a model at all" * 100,
    "wrong magic": b"GGML" + WHOLE[4:],
    "version 1": WHOLE[:4] + struct.pack("<I", 1) + WHOLE[8:],
    "version 2^31": WHOLE[:4] + struct.pack("<I", 2**31) + WHOLE[8:],
    "2^32 tensors": counted(8, 2**32),
    "2^63 tensors": counted(8, 2**63),
    "2^32 keys": counted(16, 2**32),
    "2^63 keys": counted(16, 2**63),
    "alignment 0": with_keys({"general.alignment": 0}),
    "alignment 3": with_keys({"general.alignment": 3}),
    "a key twice": with_keys({"general.architecture": "llama"}),
    "an unknown architecture": WHOLE.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0nolla", 1),
    "no heads": unsigned("llama.attention.head_count", 0),
    "seven heads": unsigned("llama.attention.head_count", 7),
    "more groups than heads": unsigned("llama.attention.head_count_kv", 9),
    "no blocks": unsigned("llama.block_count", 0),
    "2^31 blocks": unsigned("llama.block_count", 2**31),
    "an embedding of 2^31": unsigned("llama.embedding_length", 2**31),
    "an end token outside of the vocabulary": unsigned("tokenizer.ggml.eos_token_id", 512),
    "half of it": WHOLE[: len(WHOLE) // 2],
    "all but the last byte": WHOLE[:-1],
}


def outcome(path: Path) -> str | None:
    """Loads a file and uses it; the error's text, if it is refused."""
    try:
        with LLM(path, n_threads=1, n_ctx=64) as llm:
            llm.generate("Once", SamplingParams(max_tokens=2), use_tqdm=False)
    except (ModelError, ValueError, RuntimeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, report: Report) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(BROKEN[name])
    started = time.monotonic()
    error = outcome(path)
    assert error is not None, "it loads"
    assert "broken.gguf" in error
    assert time.monotonic() - started < 2
    report.add("GGUF file", 1)


def mutations() -> Iterator[bytes]:
    """Flipped bytes of the tables and files that are cut, always the same ones."""
    drawn = random.Random(1)
    for _ in range(MUTATIONS):
        at = drawn.randrange(TABLES)
        yield WHOLE[:at] + bytes([drawn.randrange(256)]) + WHOLE[at + 1 :]
        yield WHOLE[: drawn.randrange(TABLES if drawn.random() < 0.8 else len(WHOLE))]


@pytest.mark.timeout(600)
def test_mutations_are_served_or_refused_and_leave_nothing_behind(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "mutated.gguf"
    before = n_refused = tries = 0
    for data in mutations():
        path.write_bytes(data)
        error = outcome(path)
        n_refused += error is not None
        assert error is None or "mutated.gguf" in error or "generat" in error or "logits" in error, error
        tries += 1
        if tries == MUTATIONS // 2:
            before = resident_bytes("self")
    after = settles(lambda: resident_bytes("self"), before + 8_000_000)
    report.add("GGUF file", tries, growth=after - before)
    assert n_refused > MUTATIONS
    # Of a model of one megabyte, of which hundreds were loaded.
    assert after - before < 8_000_000


@pytest.mark.parametrize("name", ["half of it", "2^63 tensors", "empty"])
def test_the_server_ends_with_status_1_and_one_line(tmp_path: Path, name: str, report: Report) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(BROKEN[name])
    command = [sys.executable, "-m", "rustllm", "serve", "-m", str(path), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "broken.gguf" in ended.stderr
    assert "Traceback" not in ended.stderr
    report.add("GGUF file", 1)


HOSTILE = {
    "classes": "{{ ''.__class__ }}",
    "a loop in a loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a billion characters": "{{ 'x' * 1000000000 }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a power of powers": "{{ 10 ** 10 ** 10 }}",
    "a broken tag": "{% if %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_not_used(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, report: Report
) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(with_keys({"tokenizer.chat_template": HOSTILE[name]}))
    started = time.monotonic()
    with LLM(path, n_threads=1) as llm:
        assert llm.chat([{"role": "user", "content": "Hey"}], SamplingParams(max_tokens=2)).usage.completion_tokens == 2
    assert "ChatML is used instead" in caplog.text
    # One that the operator names is no other's fault.
    with pytest.raises(ValueError, match="template"):
        LLM(path, n_threads=1, chat_template=HOSTILE[name])
    assert time.monotonic() - started < 10
    report.add("hostile model template", 2)


def test_a_template_that_turns_hostile_is_a_clear_error_of_its_request(tmp_path: Path, report: Report) -> None:
    # It is harmless for the words that it is tried with when the model is loaded.
    template = "{% if 'attack' in messages[0].content %}{{ 'x' * 1000000000 }}{% endif %}{{ messages[0].content }}"
    path = tmp_path / "sleeper.gguf"
    path.write_bytes(with_keys({"tokenizer.chat_template": template}))
    server = Server("-m", str(path), "-c", "512").wait()
    try:
        calm = server.chat("Hey", max_tokens=4, temperature=0).body["choices"]
        for _ in range(20):
            started = time.monotonic()
            answer = server.chat("attack", max_tokens=4)
            assert time.monotonic() - started < 2
            assert_error(answer, answer.status)
            assert answer.status in (400, 500)
        assert server.chat("Hey", max_tokens=4, temperature=0).body["choices"] == calm
    finally:
        assert server.stop() == 0
    report.add("hostile model template", 20)
