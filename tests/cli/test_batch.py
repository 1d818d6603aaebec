"""`rustllm batch`: whole runs, runs that are killed and gone on with, and what is refused before anything runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.server import Server, running

Json = dict[str, Any]

CHAT = "/v1/chat/completions"


def chat(name: str, **fields: Any) -> Json:
    """A request whose answer is the same each time."""
    body = {"messages": [{"role": "user", "content": f"Tell me of {name}"}], "max_tokens": 8, "seed": 7, **fields}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body}


class Files:
    """A batch in a directory of its own."""

    def __init__(self, directory: Path, *requests: Json | str) -> None:
        self.input, self.output = directory / "in.jsonl", directory / "out.jsonl"
        self.errors = directory / "errors.jsonl"
        lines = [one if isinstance(one, str) else json.dumps(one) for one in requests]
        self.input.write_text("".join(line + "\n" for line in lines))

    def command(self, *flags: str) -> list[str]:
        return ["batch", str(self.input), "-o", str(self.output), *flags]

    def run(self, *flags: str, status: int = 0) -> Json:
        """Runs the batch; its summary."""
        done = run(*self.command("--json", *flags))
        assert done.returncode == status, done
        return dict(json.loads(done.stdout))

    def failure(self, *flags: str, status: int = 1) -> str:
        """The one line that a refused batch prints."""
        done = run(*self.command(*flags))
        assert (done.returncode, done.stdout) == (status, "")
        (line,) = done.stderr.strip().splitlines()
        return line

    def start(self, *flags: str) -> subprocess.Popen[bytes]:
        """Starts the batch and returns once it has written some answers."""
        process = subprocess.Popen(
            [sys.executable, "-m", "rustllm", *self.command(*flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not (self.output.exists() and self.output.stat().st_size):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process


def answers(path: Path) -> dict[str, Json]:
    """The lines of a file by custom_id; no two of them have the same."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def texts(path: Path) -> dict[str, str]:
    """What each chat of a file was answered."""
    return {name: line["response"]["body"]["choices"][0]["message"]["content"] for name, line in answers(path).items()}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-lv", "1", "--api-key", "secret", "--embeddings", "--pooling", "mean")


EACH = (
    chat("a cat"),
    {"custom_id": "text", "method": "POST", "url": "/v1/completions", "body": {"prompt": "Once", "max_tokens": 4}},
    {"custom_id": "vector", "method": "POST", "url": "/v1/embeddings", "body": {"input": "a cat"}},
    {"custom_id": "item", "method": "POST", "url": "/v1/responses", "body": {"input": "Hi", "max_output_tokens": 4}},
)

FAILING = (chat("none", n=0), chat("streamed", stream=True))


def check_each(files: Files) -> None:
    found = answers(files.output)
    assert set(found) == {"a cat", "text", "vector", "item"}
    for line in found.values():
        assert set(line) == {"id", "custom_id", "response", "error"}
        assert line["id"].startswith("batch_req_")
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
    bodies = {name: line["response"]["body"] for name, line in found.items()}
    kinds = [bodies[name]["object"] for name in ("a cat", "text", "vector", "item")]
    assert kinds == ["chat.completion", "text_completion", "list", "response"]
    failed = answers(files.errors)
    assert set(failed) == {"none", "streamed"}
    errors = {name: line["response"]["body"]["error"] for name, line in failed.items()}
    assert [line["response"]["status_code"] for line in failed.values()] == [400, 400]
    assert errors["none"]["param"] == "n"
    assert errors["streamed"]["message"] == "stream: true is not allowed in a batch; allowed: false"


def text_of_chat(files: Files) -> str:
    return str(answers(files.output)["a cat"]["response"]["body"]["choices"][0]["message"]["content"])


def test_all_endpoints_and_failures(tmp_path: Path, server: Server) -> None:
    files = Files(tmp_path, *EACH, *FAILING)
    summary = files.run("--errors", str(files.errors), "--pooling", "mean", status=1)
    check_each(files)
    counts = {name: summary[name] for name in ("total", "completed", "failed", "skipped", "completion_tokens")}
    assert counts == {"total": 6, "completed": 4, "failed": 2, "skipped": 0, "completion_tokens": 16}
    said = text_of_chat(files)
    # A server gives the same answers, and a finished batch asks for nothing.
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other", *EACH, *FAILING)
    flags = ("--url", server.url + "/v1", "--api-key", "secret", "--errors", str(other.errors))
    assert other.run(*flags, status=1)["completed"] == 4
    check_each(other)
    assert text_of_chat(other) == said
    again = other.run("--url", "http://127.0.0.1:9", "--errors", str(other.errors), status=1)
    assert (again["skipped"], again["completion_tokens"]) == (6, 0)


def test_failures_are_in_the_output_without_a_file_for_them(tmp_path: Path) -> None:
    files = Files(tmp_path, chat("a cat"), chat("none", n=0))
    done = run(*files.command())
    assert done.returncode == 1
    assert done.stdout.startswith("2 of 2 requests done, 1 failed; ")
    found = answers(files.output)
    assert found["none"]["error"] is None
    assert found["none"]["response"]["status_code"] == 400


def test_a_killed_batch_goes_on(tmp_path: Path) -> None:
    names = [f"animal {number}" for number in range(300)]
    files = Files(tmp_path, *(chat(name, max_tokens=48) for name in names))
    files.run()
    whole = texts(files.output)
    assert set(whole) == set(names)
    files.output.unlink()
    process = files.start("--concurrency", "1", "-t", "1")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = files.output.read_bytes()
    # The kill may have come in the middle of a write: whole lines are what must stay.
    kept = kept[: kept.rindex(b"\n") + 1]
    n_kept = kept.count(b"\n")
    assert 0 < n_kept < len(names)
    # As if the kill had come in the middle of a write.
    files.output.write_bytes(kept + kept[: kept.index(b"\n") // 2])
    summary = files.run("--concurrency", "7")
    assert (summary["completed"], summary["skipped"]) == (len(names), n_kept)
    assert files.output.read_bytes().startswith(kept)
    assert texts(files.output) == whole


def test_an_interrupt_ends_in_order(tmp_path: Path) -> None:
    files = Files(tmp_path, *(chat(f"animal {number}", max_tokens=64) for number in range(2000)))
    process = files.start("--concurrency", "1", "-t", "1", "--json")
    # Nobody else may write to the output meanwhile.
    assert files.failure().endswith("another run is writing to it")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    summary = json.loads(out)
    assert summary["interrupted"] is True
    assert 0 < summary["completed"] == len(answers(files.output)) < 2000
    assert err.decode() == "interrupted; the same command goes on from here\n"


def test_what_is_torn_is_done_again(tmp_path: Path) -> None:
    files = Files(tmp_path, chat("a cat"), chat("a dog"))
    files.run("--errors", str(files.errors))
    whole = files.output.read_bytes()
    for torn in (whole[:-1], whole[:-40], whole + b'{"id"', whole + b"\0" * 100):
        files.output.write_bytes(torn)
        files.run()
        assert set(texts(files.output)) == {"a cat", "a dog"}
        assert files.output.read_bytes().startswith(whole[: whole.index(b"\n") + 1])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ["there are no requests"]),
        ([chat("a"), "", chat("b"), chat("a")], ["line 4: custom_id", '"a" is the one of line 1 already']),
        ([chat("a"), "{"], ["line 2: this is not JSON"]),
        (["[1]"], ["line 1: this is no JSON object"]),
        (['{"a":' * 5000 + "1" + "}" * 5000], ["line 1: this is nested too deeply"]),
        ([{**chat("a"), "custom_id": 5}], ["line 1: custom_id: 5 is not allowed; allowed: a text"]),
        ([{"method": "POST"}], ["line 1: custom_id is missing"]),
        ([{**chat("a"), "method": "GET"}], ['method: "GET" is not allowed; allowed: POST']),
        ([{**chat("a"), "url": "/v1/models"}], ['url: "/v1/models" is not allowed', CHAT, "/v1/embeddings"]),
        ([{**chat("a"), "body": "Hi"}], ['body: "Hi" is not allowed; allowed: an object']),
        (["x"] * 9, ["line 1: ", "line 5: ", "and 4 lines more"]),
    ],
)
def test_an_input_at_fault_is_refused_before_anything_runs(
    tmp_path: Path, lines: list[Json | str], words: list[str]
) -> None:
    files = Files(tmp_path, *lines)
    line = files.failure("-m", "not looked for")
    for word in (str(files.input), *words):
        assert word in line
    assert not files.output.exists()


def test_an_output_of_something_else_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path, chat("a cat"))
    files.run()
    [answer] = files.output.read_text().splitlines()
    other = json.dumps({**json.loads(answer), "custom_id": "a dog"})
    for content, says in (
        (answer + "\n" + other + "\n", 'line 2: custom_id "a dog" is not in the input'),
        (answer + "\n" + answer + "\n", 'line 2: it answers custom_id "a cat" a second time'),
        ("Dear diary\n", "line 1: this is no answer of a batch"),
        ("Dear diary", "line 1: this is no answer of a batch"),
        ('{"custom_id": "a cat"}\n', "line 1: this is no answer of a batch"),
    ):
        files.output.write_text(content)
        assert says in files.failure()
        assert files.output.read_text() == content
    files.output.write_text(answer + "\n")
    files.input.write_text(json.dumps(chat("a cat", max_tokens=9)) + "\n")
    assert 'line 1: custom_id "a cat" asks for something else in the input' in files.failure()


def test_mistakes_have_one_line(tmp_path: Path, server: Server) -> None:
    files = Files(tmp_path, chat("a cat"))
    same = run("batch", str(files.input), "-o", str(files.input))
    assert (same.returncode, "is INPUT as well" in same.stderr) == (2, True)
    assert "-c is for a model in this process" in files.failure("--url", server.url, "-c", "64", status=2)
    assert "'ftp://x' is no server's address" in files.failure("--url", "ftp://x", status=2)
    assert "-c: 'many' is not allowed" in files.failure("-c", "many", status=2)
    assert "--min-p -3: -3 is out of range" in files.failure("--min-p", "-3", status=2)
    assert "no answer from http://127.0.0.1:9" in files.failure("--url", "http://127.0.0.1:9")
    assert "allowed: a file" in files.failure("--errors", os.devnull)
    assert "'nope.gguf' does not exist" in files.failure("-m", "nope.gguf")
    assert "refuses with status 401" in files.failure("--url", server.url)
    assert files.output.read_bytes() == b""


def test_a_server_that_goes_away_can_be_gone_on_with(tmp_path: Path) -> None:
    files = Files(tmp_path, *(chat(f"animal {number}", max_tokens=48) for number in range(300)))
    first = Server("-lv", "1", "-t", "1")
    try:
        process = files.start("--url", first.wait().url, "--concurrency", "1")
        # One that ends in order would answer on for as long as this machine is busy.
        first.process.kill()
    finally:
        first.stop()
    # It would wait for the server to come back.
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    n_done = len(answers(files.output))
    assert 0 < n_done < 300
    assert files.run()["skipped"] == n_done
    assert len(texts(files.output)) == 300


def test_flags_of_the_server_hold(tmp_path: Path) -> None:
    files = Files(tmp_path, chat("a cat", max_tokens=None))
    assert files.run("-n", "3", "--alias", "kitten", "-ngl", "9")["completion_tokens"] == 3
    [line] = answers(files.output).values()
    assert line["response"]["body"]["model"] == "kitten"
    files.output.unlink()
    # The context is that of each request, as with a server of these flags.
    assert files.run("-c", "32", status=1)["failed"] == 1
    [line] = answers(files.output).values()
    assert line["response"]["body"]["error"]["n_ctx"] == 32
