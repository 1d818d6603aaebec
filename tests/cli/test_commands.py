"""The commands as a shell sees them: what they print and their exit status."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rustllm.config import EMBEDDED_MODEL
from rustllm.logging import JsonFormatter, TextFormatter, set_up
from tests.support.commands import failure, run
from tests.support.model_file import with_keys
from tests.support.server import ROOT, Server

# rustllm serve


def test_help_is_quick_and_complete() -> None:
    began = time.perf_counter()
    done = run("serve", "--help")
    took = time.perf_counter() - began
    assert done.returncode == 0
    for words in ("--ctx-size N", "default: 2048", "env: LLAMA_ARG_PORT", "Model and engine:", "--mlock", "--lora"):
        assert words in done.stdout
    # It takes a tenth of this alone; the machine may be busy.
    assert took < 2.0


def test_the_server_is_not_imported_for_help() -> None:
    code = "import sys, rustllm.cli; rustllm.cli.run_server(['--help'], 'x'); print('fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"


def test_version() -> None:
    from rustllm import __version__

    assert run("serve", "--version").stdout == f"rustllm {__version__}\n"
    assert run("--version").stdout == f"rustllm {__version__}\n"


def test_mistakes_on_the_command_line_have_status_2() -> None:
    assert failure(2, "serve", "--prot", "1") == ("rustllm serve: error: unknown flag '--prot'; did you mean --port?")
    assert "LLAMA_ARG_PORT" in failure(2, "serve", LLAMA_ARG_PORT="x")
    assert "--min-p -3: -3 is out of range" in failure(2, "serve", "--min-p", "-3")
    assert "--temp 1e39: 1e+39 is out of range" in failure(2, "serve", "--temp", "1e39")
    assert "LLAMA_ARG_TOP_P=-1: -1 is out of range" in failure(2, "serve", LLAMA_ARG_TOP_P="-1")
    assert "LLAMA_ARG_N_PARALLEL: '0' is not allowed" in failure(2, "serve", LLAMA_ARG_N_PARALLEL="0")
    long = failure(2, "serve", "--reasoning-budget-message", "x" * 20_000)
    assert "--reasoning-budget-message xxx" in long
    assert len(long) < 300
    assert run("nonsense").returncode == 2
    assert run().returncode == 2


def test_a_log_that_cannot_be_written_has_status_1(tmp_path: Path) -> None:
    log = tmp_path / "absent" / "log"
    line = failure(1, "serve", "--log-file", str(log))
    assert line == f"rustllm serve: error: --log-file: cannot write {log}: No such file or directory"


@pytest.mark.parametrize(
    ("flag", "text", "says"),
    [("--grammar", "root ::= (", "--grammar: "), ("--json-schema", '{"type": "nothing"}', "--json-schema: ")],
)
def test_a_grammar_that_cannot_be_compiled_has_status_1(flag: str, text: str, says: str) -> None:
    line = failure(1, "serve", "--port", "0", "-lv", "0", flag, text)
    assert line.startswith(says)


def test_models_that_cannot_be_loaded_have_status_1(tmp_path: Path) -> None:
    absent = tmp_path / "absent.gguf"
    assert str(absent) in failure(1, "serve", "-m", str(absent))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(EMBEDDED_MODEL.read_bytes()[:1000])
    done = run("serve", "-m", str(broken), "--port", "0")
    assert done.returncode == 1
    assert str(broken) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_has_status_1() -> None:
    server = Server("-lv", "1")
    try:
        server.wait()
        done = run("serve", "--port", str(server.port))
    finally:
        server.stop()
    assert done.returncode == 1
    assert str(server.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_without_effect_are_warned_of_once() -> None:
    server = Server("-ngl", "99", "-ngl", "99", "--mlock", "-lv", "1")
    try:
        lines = server.wait().output().splitlines()
    finally:
        server.stop()
    assert [line for line in lines if line.startswith("warning:")] == [
        "warning: -ngl has no effect: models run on the CPU",
        "warning: --mlock has no effect: model files are always memory-mapped",
    ]


# The other commands


def test_tokenize() -> None:
    assert run("tokenize", "Once upon a time", "--json").stdout == "[1, 403, 407, 261, 378]\n"
    assert run("tokenize", "--json", stdin="Once upon a time").stdout == "[1, 403, 407, 261, 378]\n"
    assert run("tokenize", "--json", "--no-bos", "Once").stdout == "[403]\n"
    assert run("tokenize", "Once").stdout.splitlines()[1] == "     403 ' Once'"


def test_info() -> None:
    done = run("info", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["metadata"]["general.architecture"] == "llama"
    assert found["types"] == {"F32": 48}
    assert found["n_params"] == 292_800
    assert "general.architecture = 'llama'" in run("info").stdout
    gemma = ROOT / "tests/data/architectures/gemma3.gguf"
    assert "gemma3.attention.sliding_window = 24" in run("info", str(gemma)).stdout


def test_info_of_no_model(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_text("hello, this is not a model")
    assert str(file) in failure(1, "info", "-m", str(file))


def test_perplexity(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time, there was a little girl who liked to play in the park. " * 20)
    done = run("perplexity", "-f", str(text), "-c", "64", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_scored"] == 31 * found["n_chunks"]
    assert 1.0 < found["value"] < 40.0
    assert 0.0 < found["error"] < found["value"]
    shown = run("perplexity", "-f", str(text), "-c", "64").stdout
    assert f"perplexity {found['value']:.4f}" in shown


def test_perplexity_takes_the_engines_flags(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time, there was a little girl who liked to play in the park. " * 20)

    def value(*flags: str) -> float:
        done = run("perplexity", "-f", str(text), "-c", "64", "--json", *flags)
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout)["value"])

    usual = value()
    # How the work is cut changes no bit, the type of the cache does.
    assert value("-t", "1", "--batch-size", "7", "-ctk", "f16", "--cache-type-v", "f16") == usual
    assert value("-t", "-1") == usual
    others = [value("-ctk", "f32"), value("-ctv", "f32"), value("-ctk", "f32", "-ctv", "f32")]
    assert len({usual, *others}) == 4
    assert others == pytest.approx([usual] * 3, rel=1e-3)
    # The story model's heads are too small for the groups of q8_0.
    assert "q8_0 needs heads of a multiple of 32" in failure(1, "perplexity", "-f", str(text), "-ctk", "q8_0")


@pytest.mark.parametrize(
    ("flag", "wrong", "allowed"),
    [
        ("-ctk", "q4_0", "f16, f32, q8_0"),
        ("--cache-type-v", "", "f16, f32, q8_0"),
        ("-t", "1.5", "a whole number from -1 to 1024"),
        ("-b", "0", "a whole number from 1 to 65536"),
    ],
)
def test_perplexity_refuses_what_the_engine_cannot_be(flag: str, wrong: str, allowed: str) -> None:
    done = run("perplexity", "-f", os.devnull, flag, wrong)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert flag in line
    assert line.endswith(f"{wrong!r} is not allowed; allowed: {allowed}")


def test_perplexity_is_the_mean_over_the_second_halves(tmp_path: Path) -> None:
    from rustllm._rustllm import Engine

    words = "Tim had a red ball. He liked to throw it high up in the sky. " * 8
    text = tmp_path / "text"
    text.write_text(words)
    engine = Engine.load(EMBEDDED_MODEL, n_ctx=64, n_parallel=1)
    tokens = engine.tokenizer.encode(words)
    expected: list[float] = []
    for at in range(0, len(tokens) // 64 * 64, 64):
        expected += engine.score([engine.tokenizer.bos or 0, *tokens[at + 1 : at + 64]], 33)
    engine.shutdown()
    found = json.loads(run("perplexity", "-f", str(text), "-c", "64", "--json").stdout)
    assert found["n_chunks"] > 1
    assert found["value"] == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-9)


def test_a_wrong_instruction_set_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "story.txt"
    text.write_text("Once upon a time there was a little dog named Max. " * 12, encoding="utf-8")
    line = failure(1, "perplexity", "-f", str(text), "-c", "64", RUSTLLM_SIMD="avx1024")
    assert 'RUSTLLM_SIMD: "avx1024" is no instruction set; allowed: ' in line
    assert line.endswith("scalar")
    assert run("perplexity", "-f", str(text), "-c", "64", RUSTLLM_SIMD="").returncode == 0


def test_perplexity_needs_text_and_room(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("short")
    assert "at least 512 are needed" in failure(1, "perplexity", "-f", str(text))
    assert "ctx-size" in failure(1, "perplexity", "-f", str(text), "-c", "0")
    assert "absent" in failure(1, "perplexity", "-f", str(tmp_path / "absent"))


def test_a_model_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    escape = "\x1b[2J\x07"
    titled = tmp_path / "titled.gguf"
    titled.write_bytes(with_keys({f"x.{escape}": escape}).replace(b"stories260K", b"stories\x1b[2J", 1))
    shown = run("info", str(titled))
    assert shown.returncode == 0
    assert "name = stories\\x1b[2J\n" in shown.stdout
    assert escape[0] not in shown.stdout
    # The value behind the key is of no known type, which the error says of the key.
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(with_keys({escape: ""}).replace(f"{escape}\x08".encode(), f"{escape}\x63".encode(), 1))
    for command in (("info", str(broken)), ("run", "-m", str(broken), "x"), ("serve", "-m", str(broken))):
        line = failure(1, *command)
        assert "\\x1b[2J\\x07: value type 99 is unknown" in line
        assert escape[0] not in line


# Log lines


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("rustllm.test", logging.INFO, "file", 1, message, None, None)
    made.created = 0.0
    made.fields = fields
    return made


def test_text_lines() -> None:
    line = TextFormatter().format(record("request", status=200, path="/v1/x", query="a b", text='say "hi"\n'))
    assert line == (
        "1970-01-01T00:00:00.000Z info request status=200 path=/v1/x"
        ' query="a b" text="say \\"hi\\"\\n"'
    )  # fmt: skip


def test_a_message_cannot_forge_lines() -> None:
    assert "\n" not in TextFormatter().format(record("a\nb\x1b[0m"))
    assert "\n" not in JsonFormatter().format(record("a\nb", path="x\ny"))


def test_json_lines() -> None:
    line = json.loads(JsonFormatter().format(record("request", status=200, path=Path("x"))))
    assert line == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "logger": "rustllm.test",
        "message": "request",
        "status": 200,
        "path": "x",
    }


def test_the_log_file_has_the_lines_of_the_verbosity(tmp_path: Path) -> None:
    file = tmp_path / "log"
    code = (
        "import logging; from pathlib import Path; from rustllm.logging import set_up;"
        f"set_up(verbosity=2, file=Path({str(file)!r}), form='text');"
        "log = logging.getLogger('rustllm.x'); log.info('quiet'); log.warning('loud');"
        "logging.getLogger('other').info('foreign')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    (line,) = file.read_text().splitlines()
    assert line.endswith("warning loud")


def test_a_log_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        set_up(verbosity=3, file=tmp_path / "absent" / "log", form="text")
    assert "absent" in failure(1, "serve", "--log-file", str(tmp_path / "absent" / "log"))
