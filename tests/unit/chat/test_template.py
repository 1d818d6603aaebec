"""Chat templates: recorded prompts, prefill, limits."""

from __future__ import annotations

import json
import time
import tracemalloc
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
        "{{ lipsum(999999999) | list }}",
        "{{ 'a' | center(99999) | wordwrap(1) }}",
        "{{ ('<!--' * 900000) | striptags }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%(a).999999999s' | format(a=1) }}",
        "{{ '%*d' | format(99999999, 1) }}",
        "{{ ('%s' * 9999) | format(*(['a' * 100000] * 9999)) }}",
        "{{ (['ab'] * 100000) | join('b' * 40000) }}",
        "{{ ('x' * 100000).join(['a'] * 10000) }}",
        "{{ (['a' * 3000000] * 100) | string }}",
        "{{ (['a' * 3000000] * 100) | tojson }}",
        "{{ ['a' * 3000000] * 100 }}",
        "{{ (['a' * 3000000] * 100) ~ 'b' }}",
        "{{ {'a': ['a' * 3000000] * 100} | join }}{{ [{'a': 'a' * 3000000}] * 100 }}",
        "{{ ([[1] * 1000] * 3000) | tojson(indent=16) }}",
        "{{ ('a' * 3000000).translate({97: 'b' * 1000}) }}",
        "{{ ('{0}' * 100000).format('a' * 4000000) }}",
        "{{ ('{a}' * 100000).format_map({'a': 'a' * 4000000}) }}",
        "{{ ([[1] * 100] * 70000) | sum(start=[]) }}",
        "{{ ('x' * 3000000) | replace('x', 'yyyyyyyyyyyyy') }}",
        "{{ ('x' * 3000000).replace('x', 'yyyyyyyyyyyyy') }}",
        "{{ ('x\\n' * 3000000) | indent(1000) }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
    ],
)
def test_hostile_templates_fail_fast(source: str) -> None:
    # It is bounded by what a core does, not by the clock.
    started = time.thread_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).check()
    assert time.thread_time() - started < 3


@pytest.mark.parametrize("part", ["s[1:]", "s.upper()", "s|upper", "s + 'b'", "s ~ 'b'", "[1] * 100000", "l + [1]"])
def test_what_is_kept_is_bounded(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_TICKS", 20_000)
    keep = "{% set _ = n.kept.append(" + part + ") %}"
    source = "{% set n = namespace(kept=[]) %}{% set s = 'a' * 999999 %}{% set l = [1] * 99999 %}"
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="takes more than"):
            ChatTemplate(source + "{% for i in range(99999) %}" + keep + "{% endfor %}").check()
        # Three renderings of which each may have 20 MB; without a bound it would be a hundred times as much.
        assert tracemalloc.get_traced_memory()[1] < 70_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("{{ [1, 2, 3, 4][1:3] }}{{ 'abcdef'[::-2] }}{{ 'abc'[:-1] }}{{ messages[1:] }}", "[2, 3]fdbab[]"),
        ("{{ ['a', 1] | join }}{{ ['a', 'b'] | join(', ') }}{{ ', '.join(['c']) }}", "a1a, bc"),
        ("{{ messages | join(',', attribute='role') }}", "user"),
        ("{{ [1, 2] | sum }}{{ [{'a': 3}] | sum(attribute='a', start=1) }}", "34"),
        ("{{ '%s is %.2f' | format('a', 1.5) }}{{ '%(a)s' | format(a=2) }}", "a is 1.502"),
        ("{{ '{} {:>3}'.format('a', 1) }}{{ 1 ~ 'a' ~ none ~ [1] }}", "a   11aNone[1]"),
        (
            "{{ {'a': [1]} | tojson(indent=1) }}{{ 'ab' | replace('b', 'c') }}{{ 'a\nb' | indent(2) }}",
            '{\n "a": [\n  1\n ]\n}aca\n  b',
        ),
        ("{{ 'abab' | replace('a', 'c', 1) }}{{ 'a' | center(3) }}|", "cbab a |"),
    ],
)
def test_what_is_bounded_does_what_it_does_elsewhere(source: str, prompt: str) -> None:
    assert ChatTemplate(source).render([{"role": "user", "content": "x"}]) == prompt


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
    Sandbox().from_string("{{ 'a'|center(99999)" + "|title" * 80 + " }}")
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
        "{{ messages[0].content | replace('b', 'c') }}{{ messages[0].content | indent(2) | length }}"
    )
    text = "ab " * 100_000
    rendered = template.render([{"role": "user", "content": text}])
    assert rendered.startswith(text.replace("b", "c"))
