"""Any text as an answer, in any format of tool calls: never an exception, the same parts however it is cut, and only
tools that there are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fuzz.python.given import Given
from tests.support.answers import WRITERS, tools

from rustllm.chat.plan import make_plan
from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.events import Answer
from rustllm.chat.tools import FORMATS
from rustllm.chat.tools.descriptor import ToolFormat

#: Pieces of an answer at most.
LENGTH = 40

CALL = [("get", {"city": "x", "days": 1})]
OTHERS = ["<think>", "</think>", "get", "get_weather", "{}", '{"city": "', "\n", " ", '"', "}", "\\", "\u00e9", "all\n"]


def pieces(form: ToolFormat) -> list[str]:
    """What the format's own texts consist of, and what may stand beside."""
    own = [*form.answer.tokens, *(write(CALL) for write in WRITERS[form.name])]
    small = [piece for text in own for piece in re.findall(r"\s+|[<>\[\]{}|\"':,=()]|\w+|[^\s\w]", text)]
    return sorted({*own, *small, *OTHERS})


PIECES = [pieces(form) for form in FORMATS]


#: An answer without the random ids: content, thoughts, and names and arguments of its calls.
Parts = tuple[str, str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Case:
    """What is answered to what."""

    form: ToolFormat
    #: The end of the prompt, which may have begun a thought.
    prompt: str
    reasoning: str
    #: The answer.
    texts: list[str]


def case(data: bytes) -> Case:
    """The case that such bytes stand for."""
    given = Given(data)
    number = given.number(len(FORMATS))
    prompt = given.pick(["", "<think>", ">>>"])
    reasoning = given.pick(["none", "deepseek"])
    texts = []
    while given.left and len(texts) < LENGTH:
        texts.append(given.text(4) if given.number(8) == 7 else given.pick(PIECES[number]))
    return Case(FORMATS[number], prompt, reasoning, texts)


def read(this: Case, texts: list[str]) -> Parts:
    """What the answer is read as where it comes in such pieces."""
    plan = make_plan(this.form.with_thought(THINK), this.prompt, tools(), reasoning=this.reasoning)
    reader, answer = plan.reader(), Answer()
    for event in [event for text in texts for event in reader.push(text)] + list(reader.end()):
        answer.take(event)
    return answer.content, answer.reasoning, [(call.name, call.arguments) for call in answer.calls or []]


def check(data: bytes) -> None:
    """One answer."""
    this = case(data)
    text = "".join(this.texts)
    whole = read(this, [text])
    for cut in (list(text), this.texts):
        assert read(this, cut) == whole, (this.form.name, text)
    assert all(name in tools().tools for name, _ in whole[2]), (this.form.name, text)
