"""Model files that are not what they say: a clear error when they are loaded, in little memory and with exit status 1.

What is wrong inside of the files has its tests in `tests/rust/malformed_fields.rs` and `malformed_models.rs`; here the
classes, cuts at the edges of all parts and flipped bytes pass through the package, in one process, so that what they
leave behind would add up, and through the commands, each in a process of its own, whose peak of memory is measured.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rustllm import LLM, ModelError, SamplingParams
from tests.support.attack import LONG, resident_bytes, settles
from tests.support.broken_models import CLASSES, Mutation, cuts, flips, names_a_part
from tests.support.measured import Measured, measured
from tests.support.model_file import STORY, with_keys
from tests.support.server import ROOT, Server, assert_error
from tests.torture.conftest import Report

SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
LAST_TENSOR = "output_norm.weight"

#: More than 500.
MUTATIONS = [*CLASSES, *cuts(), *flips(200)]

#: What a command may take beside twice the file, more than one whose file is refused at its first byte: the modules
#: that a loaded model needs, its cache, and the stacks of its threads, which are the same for a model of any size. A
#: file of 1.2 MB that is whole takes 2.6 MB more in all.
FIXED_BYTES = 2_000_000

#: What a process may have more after it has loaded all of them for a second time: two models of six hundred, if a load
#: should lose its model.
LOADS_BYTES = 2_500_000


def outcome(path: Path) -> str | None:
    """Loads a file and uses it; the error's text, if it is refused."""
    try:
        with LLM(path, n_threads=1, n_ctx=64) as llm:
            llm.generate("Once", SamplingParams(max_tokens=1), use_tqdm=False)
    except (ModelError, ValueError, RuntimeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("broken", CLASSES, ids=lambda broken: broken.text)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, broken: Mutation, report: Report) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken.data)
    started = time.monotonic()
    error = outcome(path)
    assert error is not None, "it loads"
    assert names_a_part(error.removeprefix(f"{path}: "), broken), error
    assert time.monotonic() - started < 1
    report.add("GGUF file", 1)


@pytest.mark.timeout(600)
def test_mutations_are_served_or_refused_and_leave_nothing_behind(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "mutated.gguf"

    def load_all() -> int:
        n_refused = 0
        for broken in MUTATIONS:
            path.write_bytes(broken.data)
            error = outcome(path)
            if error is None:
                assert not broken.names, f"{broken.text}: it loads"
                continue
            n_refused += 1
            assert names_a_part(error.removeprefix(f"{path}: "), broken), f"{broken.text}: {error}"
        return n_refused

    # Whoever has loaded them all once has what the allocator keeps for the next. What is lost of each is lost again.
    assert load_all() > 500
    before = resident_bytes("self")
    assert load_all() > 500
    after = settles(lambda: resident_bytes("self"), before + LOADS_BYTES)
    report.add("GGUF file", 2 * len(MUTATIONS), growth=after - before)
    assert after - before <= LOADS_BYTES


def asked(path: Path) -> Measured:
    """The command that loads a file, makes one token and ends."""
    flags = ("-c", "64", "-t", "1", "-n", "1", "--raw")
    return measured(sys.executable, "-m", "rustllm", "run", "-m", str(path), *flags, "Once")


@pytest.fixture(scope="module")
def refused_at_once(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The peak of memory of the command with a file that it knows to be wrong by its first byte."""
    path = tmp_path_factory.mktemp("empty") / "empty.gguf"
    path.write_bytes(b"")
    return asked(path).peak_bytes


def assert_refused(ended: Measured, path: Path, broken: Mutation) -> None:
    """One line that names the file and the part of it that is at fault, and exit status 1."""
    assert ended.status == 1, f"{broken.text}: {ended}"
    (line,) = ended.stderr.splitlines()
    _, _, said = line.partition(f"{path}: ")
    assert names_a_part(said, broken), f"{broken.text}: {line}"


def end_of(directory: Path, broken: Mutation) -> tuple[Measured, bool]:
    """How the command ends with a broken file, and whether that was refused."""
    path = directory / f"{broken.text}.gguf"
    path.write_bytes(broken.data)
    ended = asked(path)
    path.unlink()
    if ended.status != 0 or broken.names:
        assert_refused(ended, path, broken)
    return ended, ended.status == 1


@pytest.mark.timeout(3600)
def test_a_command_ends_with_status_1_in_little_memory(tmp_path: Path, refused_at_once: int, report: Report) -> None:
    tried = MUTATIONS if LONG else MUTATIONS[::20]
    most = n_refused = 0
    with ThreadPoolExecutor(2) as pool:
        for broken, (ended, refused) in zip(tried, pool.map(functools.partial(end_of, tmp_path), tried), strict=True):
            more = ended.peak_bytes - refused_at_once
            assert more < 2 * len(broken.data) + FIXED_BYTES, f"{broken.text}: {more} bytes more"
            most, n_refused = max(most, more), n_refused + refused
    assert len(tried) * 0.75 < n_refused < len(tried)
    report.add("GGUF file", len(tried))
    report.note(f"{len(tried)} broken model files, {n_refused} refused, at most {most / 1e6:.1f} MB for one of 1.2 MB")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model of a hundred megabytes, beside which nothing else counts."""
    path = tmp_path / "large.gguf"
    shutil.copyfile(SMOLLM2, path)
    return path


def test_a_large_file_that_is_broken_at_its_end_takes_less_than_twice_its_size(
    large: Path, refused_at_once: int, report: Report
) -> None:
    with large.open("r+b") as file:
        # The last tensor is a norm of 32-bit floats.
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", float("nan")))
    size = large.stat().st_size
    for text, says in (("not a number", "NaN"), ("cut by a byte", "ends after the file")):
        ended = asked(large)
        more = ended.peak_bytes - refused_at_once
        report.note(f"a model of {size / 1e6:.0f} MB, {text}: {more / 1e6:.0f} MB at most")
        assert_refused(ended, large, Mutation(text, b"", frozenset({LAST_TENSOR})))
        assert says in ended.stderr
        assert more < 2 * size
        os.truncate(large, size - 1)
    report.add("GGUF file", 2)


SERVED = [CLASSES[0], CLASSES[7], Mutation("half of it", STORY.read_bytes()[: STORY.stat().st_size // 2])]


@pytest.mark.parametrize("broken", SERVED, ids=lambda broken: broken.text)
def test_the_server_ends_with_status_1_and_one_line(tmp_path: Path, broken: Mutation, report: Report) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken.data)
    ended = measured(sys.executable, "-m", "rustllm", "serve", "-m", str(path), "--port", "0")
    assert_refused(ended, path, broken)
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
