"""Reading answers: every format, any text, cut anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.chat.plan import Plan, make_plan
from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.events import Answer, CallArguments, CallStart
from rustllm.chat.syntax.json_scan import JsonScan
from rustllm.chat.tools import FORMATS
from rustllm.chat.tools.descriptor import ToolFormat
from tests.support.answers import SCHEMA, SINGLE, WRITERS, Calls, hermes, tools
from tests.support.strategies import BUDGET, JSON

EACH_FORMAT = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
EACH_WRITER = pytest.mark.parametrize(
    ("form", "write"),
    [(form, write) for form in FORMATS for write in WRITERS[form.name]],
    ids=lambda value: value.name if isinstance(value, ToolFormat) else value.__name__,
)

#: Texts without what ends a value in a tag.
TEXTS = st.text(max_size=30).filter(lambda text: "</" not in text)
INNER = JSON.filter(lambda value: "</" not in json.dumps(value, ensure_ascii=False))
VALUES = {
    "city": TEXTS,
    "days": st.integers(),
    "ratio": st.floats(allow_nan=False, allow_infinity=False),
    "exact": st.booleans(),
    "tags": st.lists(TEXTS, max_size=3),
    "extra": st.dictionaries(TEXTS, INNER, max_size=3),
    "unit": st.sampled_from(["celsius", "kelvin"]),
    "note": TEXTS,
}
assert VALUES.keys() == SCHEMA["properties"].keys()  # type: ignore[union-attr, attr-defined]
ARGUMENTS = st.fixed_dictionaries({}, optional=VALUES)
CALLS = st.lists(
    st.tuples(st.sampled_from(["get_weather", "get"]), ARGUMENTS) | st.just(("stop", {})), min_size=1, max_size=3
)


def plan_for(form: ToolFormat, prompt: str = "", reasoning: Any = "deepseek") -> Plan:
    return make_plan(form.with_thought(THINK), prompt, tools(), reasoning=reasoning)


def in_pieces(plan: Plan, text: str, cuts: list[int]) -> Answer:
    reader, answer = plan.reader(), Answer()
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in pairwise(places):
        for event in reader.push(text[start:end]):
            answer.take(event)
    for event in reader.end():
        answer.take(event)
    return answer


def shape(answer: Answer) -> tuple[str, str, list[tuple[str, str]]]:
    """An answer without the random ids."""
    return answer.content, answer.reasoning, [(call.name, call.arguments) for call in answer.calls or []]


def fragments(form: ToolFormat) -> st.SearchStrategy[str]:
    """Pieces of the format's own texts, and of others."""
    own = [*form.answer.tokens, *(write([("get", {"city": "x", "days": 1})]) for write in WRITERS[form.name])]
    pieces = [piece for text in own for piece in re.findall(r"\s+|[<>\[\]{}|\"':,=()]|\w+|[^\s\w]", text)]
    whole = [*own, "<think>", "</think>", "get", "get_weather", "{}", '{"city": "', "\n", " ", '"', "}", "all\n"]
    return st.lists(st.sampled_from(sorted({*pieces, *whole})) | st.text(max_size=5), max_size=25).map("".join)


@EACH_FORMAT
@BUDGET
@given(data=st.data())
def test_any_text_is_read_the_same_however_it_is_cut(form: ToolFormat, data: st.DataObject) -> None:
    text = data.draw(fragments(form))
    prompt = data.draw(st.sampled_from(["", "<think>", ">>>"]))
    reasoning = data.draw(st.sampled_from(["none", "deepseek"]))
    plan = plan_for(form, prompt, reasoning)
    whole = shape(plan.reader().read(text))
    assert shape(in_pieces(plan, text, list(range(len(text))))) == whole
    assert shape(in_pieces(plan, text, data.draw(st.lists(st.integers(0, 200), max_size=4)))) == whole
    assert all(name in tools().tools for name, _ in whole[2])


@EACH_FORMAT
@BUDGET
@given(text=st.text(alphabet=st.characters(exclude_characters="<[{>f ", codec="utf-8"), max_size=50))
def test_text_without_markers_is_content(form: ToolFormat, text: str) -> None:
    read = plan_for(form).reader().read(text)
    assert shape(read) == (text, "", [])


@EACH_WRITER
@BUDGET
@given(calls=CALLS, data=st.data())
def test_written_calls_are_read_back(
    form: ToolFormat, write: Callable[[Calls], str], calls: Calls, data: st.DataObject
) -> None:
    calls = calls[:1] if form.name in SINGLE else calls
    text = write(calls)
    plan = plan_for(form)
    answer = in_pieces(plan, text, data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls or []] == calls
    assert (answer.content, answer.reasoning) == ("", "")


@EACH_WRITER
@BUDGET
@given(calls=CALLS, at=st.integers(0, 2000))
def test_nothing_is_lost_where_a_call_breaks_off(
    form: ToolFormat, write: Callable[[Calls], str], calls: Calls, at: int
) -> None:
    """A word put anywhere into a call comes out somewhere."""
    text = write(calls)
    at %= len(text) + 1
    idle = [match.span(1) for match in re.finditer(r'"(?:id|tool_call_id)": "([^"]*)"', text)]
    if any(first <= at <= last for first, last in idle):
        return  # the model's own ids are replaced
    answer = plan_for(form).reader().read(f"{text[:at]}zqzq{text[at:]}")
    everything = answer.content + answer.reasoning + "".join(call.arguments for call in answer.calls or [])
    assert "zqzq" in everything


@EACH_WRITER
@BUDGET
@given(calls=CALLS, at=st.integers(0, 2000))
def test_a_call_that_is_cut_off_is_the_beginning_of_one(
    form: ToolFormat, write: Callable[[Calls], str], calls: Calls, at: int
) -> None:
    text = write(calls)
    answer = plan_for(form).reader().read(text[: at % (len(text) + 1)])
    for call in answer.calls or []:
        assert JsonScan().push(call.arguments, 0) == len(call.arguments)


def test_the_first_event_of_a_call_has_its_name_and_the_others_its_arguments() -> None:
    reader = plan_for(next(form for form in FORMATS if form.name == "Hermes 2 Pro")).reader()
    events = [event for char in hermes([("get", {"city": "x"})] * 2) for event in reader.push(char)] + reader.end()
    starts = [event for event in events if isinstance(event, CallStart)]
    assert [(start.index, start.name) for start in starts] == [(0, "get"), (1, "get")]
    assert len({start.id for start in starts}) == 2
    pieces = [event.text for event in events if isinstance(event, CallArguments) and event.index == 0]
    assert len(pieces) > 5
    assert "".join(pieces) == '{"city": "x"}'
    assert events.index(starts[0]) == 0


@pytest.mark.parametrize(
    ("name", "prompt", "text", "expected"),
    [
        ("Hermes 2 Pro", "", "<think>\nhm\n</think>\n\nyes", ("yes", "hm", [])),
        ("Hermes 2 Pro", "…<think>\n", "hm</think>yes", ("yes", "hm", [])),
        ("Hermes 2 Pro", "…<think>\n", "<think>hm</think>yes", ("yes", "hm", [])),
        ("Hermes 2 Pro", "…<think>\n", "it never ends ", ("", "it never ends ", [])),
        ("Hermes 2 Pro", "", "<think>\n\n</think>\n\nyes", ("yes", "", [])),
        ("Hermes 2 Pro", "", "about <think> tags", ("about <think> tags", "", [])),
        (
            "Hermes 2 Pro",
            "",
            '<think><tool_call>no</think>I look.\n<tool_call>\n{"name":"stop"}\n</tool_call>',
            ("I look.", "<tool_call>no", [("stop", "{}")]),
        ),
        ("Hermes 2 Pro", "", '<tool_call>{"name": "other", "arguments": {}}', None),
        ("Hermes 2 Pro", "", '<tool_call>{"name": "get", "arguments": "text"}', None),
        ("Hermes 2 Pro", "", "a <tool_call> b", None),
        ("Llama 3.x", "", '{"answer": 42}', None),
        ("Llama 3.x", "", '<|python_tag|>{"name": "stop", "parameters": {}}', ("", "", [("stop", "{}")])),
        ("Functionary v3.2", "…>>>", "all\nHi>>>stop\n{}", ("Hi", "", [("stop", "{}")])),
        ("Functionary v3.2", "…>>>", "stop\n{}", ("", "", [("stop", "{}")])),
        ("Command R7B", "", "<|START_RESPONSE|>Hi<|END_RESPONSE|>", ("Hi", "", [])),
        (
            "GPT-OSS",
            "",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>",
            ("Hi", "hm", []),
        ),
        (
            "GPT-OSS",
            "",
            " to=functions.stop<|channel|>commentary json<|message|>{}<|call|>",
            ("", "", [("stop", "{}")]),
        ),
        ("GPT-OSS", "", "no channel at all", None),
        ("Qwen3 Coder", "", "<tool_call>\n<function=get>\n<parameter=days>\nmany\n</parameter>\n</function>\n"
         "</tool_call>", ("", "", [("get", '{"days": "many"}')])),
        ("Kimi K2", "", "<|tool_calls_section_begin|><|tool_call_begin|>functions.stop:0"
         "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>", ("", "", [("stop", "{}")])),
    ],
)  # fmt: skip
def test_examples(name: str, prompt: str, text: str, expected: tuple[Any, ...] | None) -> None:
    """None: all of the text is content."""
    form = next(form for form in FORMATS if form.name == name)
    read = plan_for(form, prompt).reader().read(text)
    assert shape(read) == (expected or (text, "", []))


def test_thoughts_stay_in_the_text_where_that_is_asked_for() -> None:
    form = next(form for form in FORMATS if form.name == "Hermes 2 Pro")
    text = '<think>\nhm <tool_call>\n</think>\n\nyes\n<tool_call>\n{"name": "stop"}</tool_call>'
    read = plan_for(form, reasoning="none").reader().read(text)
    assert shape(read) == ("<think>\nhm <tool_call>\n</think>\n\nyes", "", [("stop", "{}")])


def test_ids_are_what_templates_take() -> None:
    by_name = {form.name: form for form in FORMATS}
    mistral = plan_for(by_name["Mistral Nemo"]).reader().read(WRITERS["Mistral Nemo"][0]([("stop", {})]))
    kimi = plan_for(by_name["Kimi K2"]).reader().read(WRITERS["Kimi K2"][0]([("stop", {})]))
    assert mistral.calls
    assert re.fullmatch("[a-zA-Z0-9]{9}", mistral.calls[0].id)
    assert kimi.calls
    assert kimi.calls[0].id == "functions.stop:0"


@BUDGET
@given(value=JSON, rest=st.text(max_size=5), cuts=st.lists(st.integers(0, 100), max_size=3))
def test_json_is_recognised_to_its_end(value: Any, rest: str, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    scan, at = JsonScan(), 0
    whole = text + ("\0" if numeric else "") + rest
    for end in [*sorted(cuts), len(whole)]:
        at = max(at, scan.push(whole[:end], at))
    assert scan.is_done
    assert at == len(text)


@BUDGET
@given(text=st.text(alphabet='{}[],:"\\0123eE+-.tfnrualse u', max_size=12))
def test_what_is_accepted_as_json_is_json(text: str) -> None:
    text, scan = text.rstrip(" "), JsonScan()
    if scan.push(text, 0) == len(text) and scan.ends_here():
        json.loads(text)
    else:
        with pytest.raises(ValueError):  # noqa: PT011 (json has one class)
            json.loads(text)
