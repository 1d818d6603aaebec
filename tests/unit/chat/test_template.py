"""Chat templates: recorded prompts, prefill, limits."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rustllm.chat import sandbox
from rustllm.chat.messages import MessageError, parse_messages
from rustllm.chat.sandbox import Sandbox
from rustllm.chat.template import ChatTemplate, TemplateError, check_kwargs, render_prompt
from tests.support.server import TEMPLATES

RECORDED = [json.loads(line) for line in (TEMPLATES / "expected.jsonl").read_text(encoding="utf-8").splitlines()]


def render(case: dict[str, Any]) -> str:
    name = case["template"]
    is_file = name.endswith(".jinja")
    source = (TEMPLATES / name).read_text(encoding="utf-8") if is_file else name
    template = ChatTemplate(source, "<s>", "</s>", jinja=is_file)
    return render_prompt(template, parse_messages(case["body"]["messages"]), tools=case["body"].get("tools"))


def test_all_are_checked() -> None:
    assert len(RECORDED) == 204


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["template"])
def test_recorded_prompt(case: dict[str, Any]) -> None:
    assert render(case) == case["prompt"]


def test_a_final_answer_is_left_open() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]
    opened = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHel"
    assert render_prompt(ChatTemplate("chatml"), messages) == opened
    closed = render_prompt(ChatTemplate("chatml"), messages, add_generation_prompt=False)
    assert closed == opened + "<|im_end|>\n"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ ('x' * 7000000) ~ ('x' * 7000000) }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a' | center(999999999) }}",
        "{{ 'aaaa' | replace('a', 'b' * 5000000) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{% set l = [] %}{% for i in range(9999) %}{% for j in range(9999) %}{{ l.append(i) }}{% endfor %}{% endfor %}",
        "{{ [].extend([1]) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ raise_exception('no') }}",
        "{{ undefined_name.attribute }}",
        "{{ '%s' " + "|tojson" * 20 + "|sort }}",
        "{{ 'a' | center(1999999) | unique | list }}",
    ],
)
def test_hostile_templates_fail_fast(source: str) -> None:
    # It is bounded by what a core does, not by the clock.
    started = time.thread_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).check()
    assert time.thread_time() - started < 3


@pytest.mark.parametrize("work", ["s ~ s", "s.upper()", "s|upper|lower"])
def test_work_on_long_texts_is_bounded(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.2)
    source = "{% set s = 'a'|center(3999999) %}{% for i in range(99999) %}{% set t = " + work + " %}{% endfor %}"
    started = time.thread_time()
    with pytest.raises(TemplateError, match="takes more than"):
        ChatTemplate(source).check()
    assert time.thread_time() - started < 10


def test_filters_are_not_applied_to_constants_when_a_template_is_compiled() -> None:
    started = time.thread_time()
    Sandbox().from_string("{{ 'a'|center(99999)" + "|wordwrap(1)" * 60 + " }}")
    assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{",
        "{% for x in y %}",
        # The parser takes these; Python's compiler does not.
        "{% continue %}",
        "{% break %}",
        "{% for x in y %}" * 30 + "{% endfor %}" * 30,
        "{% if x %}" * 200 + "{% endif %}" * 200,
        "{% macro m(a, a) %}{% endmacro %}",
        "{{ f(a=1, a=2) }}",
        "{{ " + "9" * 5000 + " }}",
    ],
    ids=lambda source: source[:30],
)
def test_broken_templates_are_refused(source: str) -> None:
    with pytest.raises(TemplateError, match="cannot be parsed"):
        ChatTemplate(source)


def test_keywords_are_on_a_list() -> None:
    check_kwargs({"enable_thinking": False})
    for name in ("messages", "bos_token", "raise_exception"):
        with pytest.raises(TemplateError, match=name):
            check_kwargs({name: 1})


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (None, "messages"),
        ("hi", "messages"),
        ([], "messages"),
        ([123], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"role": "boss", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0].text"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0].function"),
        ([{"role": "assistant", "tool_calls": [1]}], "messages[0].tool_calls[0]"),
    ],
)
def test_bad_messages_are_named(value: object, param: str) -> None:
    with pytest.raises(MessageError) as refusal:
        parse_messages(value)
    assert refusal.value.param == param


def test_a_long_text_may_be_replaced_in() -> None:
    template = ChatTemplate(
        "{{ messages[0].content | replace('b', 'c') }}{{ messages[0].content | wordwrap(79) | length }}"
    )
    text = "ab " * 100_000
    rendered = template.render([{"role": "user", "content": text}])
    assert rendered.startswith(text.replace("b", "c"))
