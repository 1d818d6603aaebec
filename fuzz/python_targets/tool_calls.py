"""Any text as an answer, in any format of tool calls: never an exception, the same parts however it is cut, and only
tools that there are."""

from __future__ import annotations

import re
import sys

import atheris

with atheris.instrument_imports():
    from rustllm.chat.plan import make_plan
    from rustllm.chat.reasoning import THINK
    from rustllm.chat.syntax.events import Answer
    from rustllm.chat.tools import FORMATS
    from rustllm.chat.tools.descriptor import ToolFormat

from tests.support.answers import WRITERS, tools

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


def parts(answer: Answer) -> tuple[str, str, list[tuple[str, str]]]:
    """An answer without the random ids."""
    return answer.content, answer.reasoning, [(call.name, call.arguments) for call in answer.calls or []]


def check(data: bytes) -> None:
    """One answer."""
    given = atheris.FuzzedDataProvider(data)
    number = given.ConsumeIntInRange(0, len(FORMATS) - 1)
    prompt = given.PickValueInList(["", "<think>", ">>>"])
    reasoning = given.PickValueInList(["none", "deepseek"])
    texts = []
    while given.remaining_bytes() and len(texts) < LENGTH:
        other = given.ConsumeIntInRange(0, 7) == 0
        texts.append(given.ConsumeUnicodeNoSurrogates(4) if other else given.PickValueInList(PIECES[number]))
    plan = make_plan(FORMATS[number].with_thought(THINK), prompt, tools(), reasoning=reasoning)
    text = "".join(texts)
    whole = parts(plan.reader().read(text))
    for cut in (list(text), texts):
        reader, answer = plan.reader(), Answer()
        for piece in cut:
            for event in reader.push(piece):
                answer.take(event)
        for event in reader.end():
            answer.take(event)
        assert parts(answer) == whole, (FORMATS[number].name, text)
    assert all(name in tools().tools for name, _ in whole[2]), (FORMATS[number].name, text)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
