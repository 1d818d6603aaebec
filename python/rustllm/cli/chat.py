"""`rustllm chat`: a conversation in the terminal. What is read and shown lies in `terminal.py`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rustllm.cli import asking

if TYPE_CHECKING:
    from rustllm import LLM, ChatDelta, SamplingParams
    from rustllm.cli.terminal import Terminal


class Leave(Exception):
    """The user has had enough."""


@dataclasses.dataclass
class Conversation:
    """What has been said, and how answers are made."""

    llm: LLM
    params: SamplingParams
    options: dict[str, Any]
    messages: list[dict[str, Any]]

    def ask(self, text: str) -> Iterator[ChatDelta]:
        """The pieces of the answer to `text`. What there is of an answer is kept, however it ends; a question
        that cannot be asked is forgotten."""
        self.messages.append({"role": "user", "content": text})
        said, thought = "", ""
        try:
            with self.llm.chat(self.messages, self.params, stream=True, **self.options) as parts:
                for part in parts:
                    said += part.content
                    thought += part.reasoning_content
                    yield part
        except ValueError:
            self.messages.pop()
            raise
        finally:
            if self.messages and self.messages[-1]["role"] == "user":
                message = {"role": "assistant", "content": said}
                self.messages.append({**message, "reasoning_content": thought} if thought else message)

    def take_back(self) -> str | None:
        """Forgets the last question and its answer, and returns the question."""
        asked = [index for index, message in enumerate(self.messages) if message["role"] == "user"]
        if not asked:
            return None
        text: str = self.messages[asked[-1]]["content"]
        del self.messages[asked[-1] :]
        return text


def chat(options: argparse.Namespace) -> int:
    """Talks until the input ends."""
    params = asking.sampling_params(options)
    with asking.load(options) as llm:
        talk = Conversation(llm, params, asking.chat_options(options), asking.opening(options))
        if not sys.stdin.isatty():
            return _answer_lines(talk, options.json)
        from rustllm.cli.terminal import Terminal

        terminal = Terminal(f"{llm.path.name}: /help lists commands, Ctrl-D leaves")
        try:
            while True:
                _take_turn(talk, terminal)
        except (Leave, EOFError):
            return 0


def _answer_lines(talk: Conversation, as_json: bool) -> int:
    """Answers each line of a pipe; the answer to one is context of the next."""
    for line in sys.stdin:
        if not line.strip():
            continue
        if as_json:
            parts = list(talk.ask(line.rstrip("\n")))
            message = talk.messages[-1]
            print(json.dumps({**message, "finish_reason": parts[-1].finish_reason}, ensure_ascii=False), flush=True)
            continue
        for part in talk.ask(line.rstrip("\n")):
            print(part.content, end="", flush=True)
        print(flush=True)
    return 0


def _take_turn(talk: Conversation, terminal: Terminal) -> None:
    text = terminal.read()
    if not text.strip():
        return
    try:
        if text.startswith("/"):
            again = _command(talk, terminal, text)
            if again is None:
                return
            text = again
        terminal.show(talk.ask(text))
    except (OSError, ValueError) as error:
        terminal.say(str(error), style="red")


def _command(talk: Conversation, terminal: Terminal, line: str) -> str | None:
    """Does what a line with a slash says; a text that it returns is asked."""
    name, _, rest = line[1:].strip().partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        raise ValueError(f"/{name} is unknown; there are: {', '.join('/' + one for one in COMMANDS)}")
    return command.run(talk, terminal, rest.strip())


def _help(_talk: Conversation, terminal: Terminal, _rest: str) -> None:
    terminal.table((f"/{name} {command.takes}".strip(), command.text) for name, command in COMMANDS.items())
    terminal.say("Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer, the arrows find earlier messages.")


def _clear(talk: Conversation, terminal: Terminal, _rest: str) -> None:
    talk.messages[:] = [message for message in talk.messages if message["role"] == "system"]
    terminal.say("A new conversation.")


def _system(talk: Conversation, terminal: Terminal, rest: str) -> None:
    others = [message for message in talk.messages if message["role"] != "system"]
    talk.messages[:] = ([{"role": "system", "content": rest}] if rest else []) + others
    terminal.say("The system message is set." if rest else "There is no system message now.")


def _set(talk: Conversation, terminal: Terminal, rest: str) -> None:
    name, _, text = rest.partition(" ")
    if not name:
        terminal.say(repr(talk.params))
        return
    known = [field.name for field in dataclasses.fields(talk.params)]
    if name not in known:
        raise ValueError(f"{name} is no setting; there are: {', '.join(known)}")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    talk.params = talk.params.replace(**{name: value})
    terminal.say(f"{name} is {value!r} from now on.")


def _again(talk: Conversation, _terminal: Terminal, _rest: str) -> str:
    text = talk.take_back()
    if text is None:
        raise ValueError("nothing has been asked yet")
    return text


def _undo(talk: Conversation, terminal: Terminal, _rest: str) -> None:
    terminal.say(f"Taken back: {_again(talk, terminal, '')}")


def _save(talk: Conversation, terminal: Terminal, rest: str) -> None:
    path = _path(rest)
    path.write_text(json.dumps(talk.messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    terminal.say(f"Saved to {path}.")


def _load(talk: Conversation, terminal: Terminal, rest: str) -> None:
    messages = json.loads(_path(rest).read_text(encoding="utf-8"))
    is_chat = isinstance(messages, list) and all(isinstance(one, dict) and "role" in one for one in messages)
    if not is_chat:
        raise ValueError(f"{rest}: no conversation; allowed: a list of messages as JSON, as /save writes it")
    talk.messages[:] = messages
    terminal.say(f"{len(messages)} messages.")


def _path(rest: str) -> Path:
    if not rest:
        raise ValueError("a file must be named")
    return Path(rest).expanduser()


def _leave(_talk: Conversation, _terminal: Terminal, _rest: str) -> None:
    raise Leave


@dataclasses.dataclass(frozen=True)
class Command:
    """What a line with a slash does."""

    run: Callable[[Conversation, Terminal, str], str | None]
    text: str
    #: What follows the name.
    takes: str = ""


COMMANDS = {
    "help": Command(_help, "lists the commands"),
    "clear": Command(_clear, "begins a new conversation with the same system message"),
    "system": Command(_system, "sets the system message, or removes it", "[TEXT]"),
    "set": Command(_set, "changes a setting of answers, or shows them", "[NAME VALUE]"),
    "again": Command(_again, "answers the last message anew"),
    "undo": Command(_undo, "takes the last message and its answer back"),
    "save": Command(_save, "writes the conversation to a file", "FILE"),
    "load": Command(_load, "goes on with a conversation of a file", "FILE"),
    "exit": Command(_leave, "leaves, as Ctrl-D does"),
}
