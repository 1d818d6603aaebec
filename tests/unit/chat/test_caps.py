"""What templates support, as llama-server reported it for the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rustllm.chat.builtin import BUILTIN, CHATML, render_builtin
from rustllm.chat.template import ChatTemplate

FOLDER = Path(__file__).parents[2] / "data" / "templates"
RECORDED = [json.loads(line) for line in (FOLDER / "caps.jsonl").read_text().splitlines()]

#: Where llama-server reports less than the template does: its macro writes the texts of parts.
MORE = {"LFM2.5-8B-A1B.jinja": {"typed_content"}}

CHAT = [{"role": role, "content": f"{role} text"} for role in ("system", "user", "assistant", "user")]


def supported(template: ChatTemplate) -> set[str]:
    return {name.removeprefix("supports_") for name, found in template.capabilities().items() if found}


def test_all_are_checked() -> None:
    assert {case["template"] for case in RECORDED} == {path.name for path in FOLDER.glob("*.jinja")}


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["template"])
def test_recorded_capabilities(case: dict[str, str | list[str]]) -> None:
    name = str(case["template"])
    template = ChatTemplate((FOLDER / name).read_text(), "<s>", "</s>")
    assert supported(template) == set(case["caps"]) | MORE.get(name, set())


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_formats_write_texts_and_nothing_else(name: str) -> None:
    # That format has no place for system messages, and drops them as llama-server does.
    system = set() if name == "yandex" else {"system_role"}
    assert supported(ChatTemplate(name)) == {"string_content"} | system


def test_a_template_that_refuses_everything_supports_nothing() -> None:
    assert supported(ChatTemplate("{{ raise_exception('no') }}")) == set()


def test_a_template_without_messages_supports_nothing() -> None:
    assert supported(ChatTemplate("{{ 'fixed' }}")) == set()


def test_arguments_printed_as_python_are_no_support_for_objects() -> None:
    source = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}{{ c.function.arguments }}{% endfor %}"
    found = supported(ChatTemplate(source + "{% endfor %}"))
    assert "tool_calls" in found
    assert "object_arguments" not in found


def test_the_template_of_models_without_one_is_chatml() -> None:
    assert ChatTemplate(CHATML).render(CHAT) == render_builtin("chatml", CHAT, True)
    assert ChatTemplate(CHATML).render(CHAT, add_generation_prompt=False) == render_builtin("chatml", CHAT, False)
    assert supported(ChatTemplate(CHATML)) == {"string_content", "system_role"}
