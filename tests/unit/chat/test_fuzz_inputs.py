"""The committed inputs of the fuzz targets in Python, through the same checks without a fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.python import chat_template, tool_calls
from fuzz.python.given import Given

from rustllm.chat.tools import FORMATS
from tests.support.server import ROOT


def inputs(name: str) -> list[Path]:
    """The inputs of a target."""
    return sorted((ROOT / "fuzz/corpus" / name).iterdir())


@pytest.mark.parametrize("path", inputs("chat_template"), ids=lambda path: path.name)
def test_templates(path: Path) -> None:
    chat_template.check(path.read_bytes())


@pytest.mark.parametrize("path", inputs("tool_calls"), ids=lambda path: path.name)
def test_answers(path: Path) -> None:
    tool_calls.check(path.read_bytes())


def test_the_inputs_reach_every_format_with_a_call() -> None:
    """A format more shifts what the inputs stand for, and then they have to be made anew."""
    cases = [tool_calls.case(path.read_bytes()) for path in inputs("tool_calls")]
    called = {case.form.name for case in cases if tool_calls.read(case, case.texts)[2]}
    assert called == {form.name for form in FORMATS}


def test_the_inputs_have_most_words() -> None:
    words = {word for path in inputs("chat_template") for word in chat_template.words(path.read_bytes())}
    assert len(words & {*chat_template.WORDS}) > 0.9 * len({*chat_template.WORDS})


def test_choices_are_of_the_bytes_alone() -> None:
    given = Given(b"\x05\x01\x02\x02ab\xff")
    assert [given.number(3), given.number(1000), given.text(6), given.left] == [2, 513, "ab\ufffd", 0]
    assert [given.number(3), given.pick("xy"), given.text(2)] == [0, "x", ""]
