"""`rustllm run` and `rustllm chat`, as a pipe and as a terminal see them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from rustllm import LLM, ChatDelta, SamplingParams, Usage
from rustllm.cli.terminal import Pace
from tests.support.commands import failure, run

#: What the editor sends before it takes what is typed: pasted text is to be marked from now on.
PROMPT = "\x1b[?2004h"

ASK = ("--temp", "0", "-n", "8")


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(n_parallel=1) as llm:
        yield llm


def answer(llm: LLM, *texts: str, system: str | None = None, n: int = 8) -> str:
    """What the Python API says to the last of these questions."""
    messages = [{"role": "system", "content": system}] if system else []
    reply = None
    for text in texts:
        messages.append({"role": "user", "content": text})
        reply = llm.chat(messages, SamplingParams(max_tokens=n, temperature=0), use_tqdm=False)
        messages.append(reply.message)
    assert reply is not None
    return reply.text


def test_a_prompt_is_answered(llm: LLM) -> None:
    done = run("run", *ASK, "Once", "upon", stdin="")
    assert (done.returncode, done.stdout) == (0, answer(llm, "Once upon") + "\n")


def test_a_pipe_is_put_behind_the_prompt(llm: LLM) -> None:
    assert run("run", *ASK, stdin="Once upon\n").stdout == answer(llm, "Once upon") + "\n"
    assert run("run", *ASK, "Go on:", stdin="Once\n").stdout == answer(llm, "Go on:\n\nOnce") + "\n"


def test_the_system_message(llm: LLM) -> None:
    done = run("run", *ASK, "--system", "Be kind.", "Hi", stdin="")
    assert done.stdout == answer(llm, "Hi", system="Be kind.") + "\n"


def test_raw_continues_the_text(llm: LLM) -> None:
    [out] = llm.generate("Once upon", SamplingParams(max_tokens=8, temperature=0), use_tqdm=False)
    assert run("run", "--raw", *ASK, "Once upon", stdin="").stdout == out.text + "\n"
    whole = json.loads(run("run", "--raw", "--json", *ASK, "Once upon", stdin="").stdout)
    assert whole["outputs"][0]["text"] == out.text
    assert whole["usage"]["completion_tokens"] == 8


def test_json_has_the_whole_answer(llm: LLM) -> None:
    whole = json.loads(run("run", "--json", *ASK, "Hi", stdin="").stdout)
    assert (whole["content"], whole["finish_reason"]) == (answer(llm, "Hi"), "length")


def test_answers_are_held_to_schemas_and_grammars(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}')
    done = run("run", "--json-schema", f"@{schema}", "Hi", stdin="")
    assert json.loads(done.stdout)["a"] == 1
    assert run("run", "--grammar", 'root ::= "yes"', "Hi", stdin="").stdout == "yes\n"


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (("run",), 2, ["there is no prompt"]),
        (("run", "-m", "nope.gguf", "Hi"), 1, ["nope.gguf", "does not exist"]),
        (("run", "-m", "bad/repo/name", "Hi"), 1, ["bad/repo/name"]),
        (("run", "--top-k", "many", "Hi"), 2, ["--top-k", "'many'"]),
        (("run", "--dry-base", "-1", "Hi"), 1, ["dry_base", "-1", "0 to 1000"]),
        (("run", "--grammar", "root ::= (", "Hi"), 1, ["grammar"]),
        (("run", "--json-schema", '{"type": "hiccup"}', "Hi"), 1, ["hiccup"]),
        (("run", "--json-schema", "@nope.json", "Hi"), 1, ["nope.json"]),
        (("run", "-c", "8", "a long prompt that does not fit into eight tokens"), 1, ["context"]),
    ],
)
def test_what_is_wrong_is_said_in_a_line(argv: tuple[str, ...], status: int, words: list[str]) -> None:
    done = run(*argv, stdin="")
    assert (done.returncode, done.stdout) == (status, "")
    last = done.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last


def test_a_pipe_of_messages_is_a_conversation(llm: LLM) -> None:
    said = run("chat", *ASK, stdin="Hi\n\nAnd then?\n").stdout
    assert said == answer(llm, "Hi") + "\n" + answer(llm, "Hi", "And then?") + "\n"
    lines = run("chat", "--json", *ASK, stdin="Hi\nAnd then?\n").stdout.splitlines()
    assert [json.loads(line)["content"] for line in lines] == [answer(llm, "Hi"), answer(llm, "Hi", "And then?")]
    assert json.loads(lines[0])["finish_reason"] == "length"


def test_an_unknown_command_is_named() -> None:
    assert "'speak'" in run("speak", stdin="").stderr


class Talk:
    """`rustllm chat` in a terminal."""

    def __init__(self, home: Path, *flags: str) -> None:
        environ = {
            **os.environ,
            "XDG_STATE_HOME": str(home),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "PROMPT_TOOLKIT_NO_CPR": "1",
        }
        self.home = home
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "rustllm", "chat", "--temp", "0", *flags],
            env=environ,
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 200),
        )
        self.expect("/help lists commands")

    def expect(self, text: str) -> None:
        self.child.expect_exact(text)

    def say(self, text: str, *expected: str) -> None:
        self.expect(PROMPT)
        self.child.send(text + "\r")
        for words in expected:
            self.expect(words)

    def leave(self) -> int | None:
        self.expect(PROMPT)
        self.child.sendeof()
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


def test_a_chat_in_a_terminal(tmp_path: Path, llm: LLM) -> None:
    talk = Talk(tmp_path, "-n", "8")
    talk.say("Hi", " ".join(answer(llm, "Hi").split()[:4]), "tokens/s, length")
    talk.say(f"/save {tmp_path / 'talk.json'}", "Saved to")
    messages = json.loads((tmp_path / "talk.json").read_text())
    assert messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer(llm, "Hi")}]
    talk.say("/set max_tokens 2", "max_tokens is 2 from now on")
    talk.say("/again", "tokens/s, length")
    talk.say("/undo", "Taken back: Hi")
    talk.say("/system Be kind.", "The system message is set")
    talk.say(f"/load {tmp_path / 'talk.json'}", "2 messages.")
    talk.say("/help", "/again", "takes the last message")
    assert talk.leave() == 0


@pytest.mark.parametrize(
    ("usage", "rate"),
    [
        # Whole: three tokens follow the first, by the engine's clock.
        (Usage(prompt_tokens=9, completion_tokens=4, prompt_ms=50, completion_ms=30), 100),
        (Usage(prompt_tokens=9, completion_tokens=1, prompt_ms=50, completion_ms=0), 20),
        # Stopped: those that came since the first part, in the two seconds since then.
        (None, 2.5),
    ],
)
def test_the_speed_of_a_chat_counts_tokens(monkeypatch: pytest.MonkeyPatch, usage: Usage | None, rate: float) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    pace = Pace()
    for part in (ChatDelta("a", token_ids=[1, 2]), ChatDelta("bc", token_ids=[3, 4, 5]), ChatDelta(token_ids=[6, 7])):
        pace.take(part)
    pace.take(ChatDelta(finish_reason="stop", usage=usage))
    assert pace.rate == pytest.approx(rate)


def test_mistakes_in_a_chat_do_not_end_it(tmp_path: Path) -> None:
    talk = Talk(tmp_path, "-n", "4")
    talk.say("/nope", "/nope is unknown; there are: /help")
    talk.say("/set nope 1", "nope is no setting")
    talk.say("/set n 0", "n: 0 is out of range")
    talk.say("/load /nope/nope", "No such file")
    talk.say("/again", "nothing has been asked yet")
    talk.say("Hi", "tokens/s")
    talk.say("/exit")
    talk.child.expect(pexpect.EOF)
    talk.child.close()
    assert talk.child.exitstatus == 0


def test_an_answer_is_stopped_and_the_next_one_comes(tmp_path: Path, llm: LLM) -> None:
    talk = Talk(tmp_path, "-n", "-1", "-c", "4096")
    talk.say("/set ignore_eos true", "ignore_eos is True")
    talk.say("Tell me a long story", " ".join(answer(llm, "Tell me a long story").split()[:3]))
    talk.child.sendintr()
    talk.expect("stopped")
    talk.say("/set max_tokens 4", "max_tokens is 4")
    talk.say("Hi", "tokens/s, length")
    assert talk.leave() == 0


def test_history_is_kept(tmp_path: Path) -> None:
    talk = Talk(tmp_path, "-n", "2")
    talk.say("Remember this", "tokens/s")
    assert talk.leave() == 0
    assert "Remember this" in (tmp_path / "rustllm" / "chat_history").read_text()


def test_failures_have_one_line() -> None:
    assert "does not exist" in failure(1, "chat", "-m", "nope.gguf")
