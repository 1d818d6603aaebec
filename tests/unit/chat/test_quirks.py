"""What llama-server does beside the template, on templates of the tests' own."""

from __future__ import annotations

import pytest

from rustllm.chat.template import ChatTemplate, TemplateError
from tests.support.server import TEMPLATES

ROLES = "{% for m in messages %}[{{ m.role }}:{{ m.content }}:{{ m.thinking }}]{% endfor %}"
CHAT = [
    {"role": "developer", "content": " rules "},
    {"role": "user", "content": " hi "},
    {"role": "assistant", "content": " yes ", "reasoning_content": " hm "},
]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("", "[system: rules :][user: hi :][assistant: yes :]"),
        ("<|channel|>", "[developer: rules :][user: hi :][assistant: yes : hm ]"),
        (
            "You have access to the following functions in JSONSchema format",
            "[system:rules:][user:hi:][assistant:yes:]",
        ),
        ("<|tool_list_start|><|tool_list_end|>", "[system: rules :][user: hi :][assistant: yes : hm ]"),
        ("List of tools: [", "[system: rules :][user: hi :][assistant: yes : hm ]"),
        ("List of tools: [<|tool_list_start|>", "[system: rules :][user: hi :][assistant: yes :]"),
    ],
)
def test_messages_are_changed_for_the_formats_that_need_it(marks: str, expected: str) -> None:
    before = [dict(message) for message in CHAT]
    assert ChatTemplate(ROLES + "{#" + marks + "#}").render(CHAT) == expected
    assert before == CHAT


@pytest.mark.parametrize(
    ("source", "thinks"),
    [
        # It shows only in the instructions, and answers have no reasoning part.
        ("{{ enable_thinking }}|{{ messages[0].content }}", False),
        ("{{ messages[0].content }}{% if add_generation_prompt %}A{{ enable_thinking }}{% endif %}", True),
        ("{{ enable_thinking }}{{ messages[0].reasoning_content }}", True),
        ("{{ raise_exception('no') if enable_thinking else 'closed' }}", True),
    ],
)
def test_thinking_is_on_only_where_answers_can_show_it(source: str, thinks: bool) -> None:
    assert ChatTemplate(source)._thinks is thinks


def test_the_request_decides_about_thinking() -> None:
    template = ChatTemplate("{{ enable_thinking }}")
    user = [{"role": "user", "content": "hi"}]
    assert template.render(user) == "False"
    assert template.render(user, kwargs={"enable_thinking": True}) == "True"


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, "True False False False"),
        ({"preserve_reasoning": False}, "False True True True"),
        ({"drop_thinking": True}, "True False False True"),
    ],
)
def test_earlier_reasoning_is_kept_by_default(kwargs: dict[str, bool], expected: str) -> None:
    names = ("preserve_thinking", "clear_thinking", "truncate_history_thinking", "drop_thinking")
    source = " ".join("{{ " + name + " }}" for name in names)
    assert ChatTemplate(source).render([{"role": "user", "content": "hi"}], kwargs=kwargs) == expected


def _calls(arguments: object) -> list[dict[str, object]]:
    function = {"name": "weather", "arguments": arguments}
    return [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
    ]


CALLS = "{% for m in messages %}{% for c in m.tool_calls %}{{ SHOWN }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("c.function.arguments | tojson", '{"city": "Oslo"}'),
        ("c.function.arguments.items() | list | first | last", "Oslo"),
        ("c.function.arguments if c.function.arguments is string else c.function.arguments.values() | first", "Oslo"),
        ("'<' + c.function.arguments + '>'", '<{"city":"Oslo"}>'),
        ("c.function.arguments", '{"city":"Oslo"}'),
        ("c.function.name", "weather"),
    ],
)
@pytest.mark.parametrize("arguments", ['{"city":"Oslo"}', {"city": "Oslo"}])
def test_arguments_of_tool_calls_have_the_form_that_the_template_reads(
    shown: str, expected: str, arguments: object
) -> None:
    template = ChatTemplate(CALLS.replace("SHOWN", shown))
    assert template.render(_calls(arguments)) == expected


def test_arguments_that_are_not_json_are_named() -> None:
    template = ChatTemplate(CALLS.replace("SHOWN", "c.function.arguments | tojson"))
    with pytest.raises(
        TemplateError, match=r"messages\[1\]\.tool_calls\[0\]\.function\.arguments: '\{city'"
    ) as refused:
        template.render(_calls("{city"))
    assert refused.value.param == "messages[1].tool_calls[0].function.arguments"


def test_recorded_templates_take_the_texts_that_clients_send() -> None:
    """No template may fail on a call's arguments for being text."""
    messages = [
        *_calls('{"city": "Oslo"}'),
        {"role": "tool", "content": "sunny", "tool_call_id": "call00001"},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": "Thanks"},
    ]
    messages[1]["tool_calls"][0]["id"] = "call00001"  # type: ignore[index]
    texts = {}
    for path in sorted(TEMPLATES.glob("*.jinja")):
        template = ChatTemplate(path.read_text(encoding="utf-8"), "<s>", "</s>")
        if template._takes_objects:
            texts[path.name] = template.render(messages)
    assert len(texts) > 15
    assert "Return of functions.weather:0" in texts["Kimi-K2-Instruct.jinja"]
    assert [name for name, text in texts.items() if "Oslo" not in text or '\\"city' in text] == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udfff": 1}', "half of a surrogate pair"),
        ('{"a": [{"b": "x\\ude00\\ud83d"}]}', "half of a surrogate pair"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
    ],
)
def test_arguments_that_only_python_reads_are_named(arguments: str, why: str) -> None:
    template = ChatTemplate(CALLS.replace("SHOWN", "c.function.arguments | tojson"))
    with pytest.raises(TemplateError, match=rf"messages\[1\]\.tool_calls\[0\]\.function\.arguments: .* \({why}"):
        template.render(_calls(arguments))


def test_arguments_may_have_escapes() -> None:
    template = ChatTemplate(CALLS.replace("SHOWN", "c.function.arguments.values() | first"))
    assert template.render(_calls('{"a": "\\ud83d\\ude00\\u00e9\\\\ud800"}')) == "😀é\\ud800"
