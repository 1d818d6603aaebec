"""Which format a template has, what its own calls look like, and what a request may say of tools."""

from __future__ import annotations

import json
import os.path
from typing import Any

import pytest

from rustllm.chat.messages import parse_messages
from rustllm.chat.plan import make_plan
from rustllm.chat.template import ChatTemplate
from rustllm.chat.tool import MAX_TOOLS, ToolError, parse_tools
from rustllm.chat.tools import format_of
from rustllm.chat.tools.generic import describe
from tests.support.server import TEMPLATES

EXPECTED = {
    "Apertus-8B-Instruct": "Apertus",
    "Bielik-11B-v3.0-Instruct": "Hermes 2 Pro",
    "Cohere2MoE": "Command R7B",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "Command R7B",
    "GLM-4.7-Flash": "GLM 4.7",
    "GigaChat3.1-10B-A1.8B": "GigaChat 3",
    "Kimi-K2-Instruct": "Kimi K2",
    "LFM2.5-8B-A1B": "LFM2 with JSON tools",
    "MiMo-VL": "Hermes 2 Pro",
    "MiniMax-M2": "MiniMax M2",
    "Mistral-Small-3.2-24B-Instruct-2506": "Mistral Small",
    "NVIDIA-Nemotron-Nano-v2": "Nemotron v2",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "Hermes 2 Pro",
    "Qwen-Qwen2.5-7B-Instruct": "Hermes 2 Pro",
    "Qwen3-Coder": "Qwen3 Coder",
    "Reka-Edge": "Hermes 2 Pro",
    "StepFun3.5-Flash": "Qwen3 Coder",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "DeepSeek R1",
    "deepseek-ai-DeepSeek-V3.2": "DeepSeek V3.2",
    "deepseek-ai-DeepSeek-V4": "DeepSeek V4",
    "ibm-granite-granite-4.0": "Hermes 2 Pro",
    "inclusionai-ling-3.0-flash": "GLM 4.5",
    "meetkai-functionary-medium-v3.2": "Functionary v3.2",
    "meta-llama-Llama-3.2-3B-Instruct": "Llama 3.x",
    "mistralai-Mistral-Nemo-Instruct-2407": "Mistral Nemo",
    "openbmb-MiniCPM5-1B": "MiniCPM 5",
    "poolside-Laguna-XS-2.1": "GLM 4.5",
    "tencent-Hy3": "Hunyuan 3",
    "unsloth-mistral-Devstral-Small-2507": "Mistral Small",
}
ARGUMENTS = {"city": 'Rome "x"\nline', "days": 3, "tags": ["a", "b"]}
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "a city"},
        "days": {"type": "integer", "description": "days"},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "words"},
    },
    "required": ["city"],
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "W.", "parameters": PARAMETERS}}]
ASKED = [{"role": "user", "content": "hi"}]
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}}


def template(name: str) -> ChatTemplate:
    return ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"), "<s>", "</s>")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_templates_are_recognised(path: Any) -> None:
    assert template(path.stem).tool_format.name == EXPECTED.get(path.stem, "Generic")


def test_a_builtin_format_is_generic() -> None:
    found = ChatTemplate("chatml").tool_format
    assert (found.name, found.answer.thought) == ("Generic", None)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_call_as_the_template_writes_it_is_read_back(name: str) -> None:
    form = template(name)
    answer = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]}
    prompt = form.render(parse_messages(ASKED), tools=TOOLS)
    whole = form.render(parse_messages([*ASKED, answer]), tools=TOOLS, add_generation_prompt=False)
    # Where the template leaves the thought out, the call follows the part that prompts have in common.
    common = os.path.commonprefix([prompt, whole])  # noqa: RUF071 (characters are meant)
    begun = common == prompt
    common = common if begun else common[: common.rfind("<")] if common.endswith("<") else common
    plan = make_plan(form.tool_format, common, parse_tools(TOOLS, None, None), reasoning="deepseek")
    text = whole[len(common) :]
    if not begun:
        close = form.tool_format.answer.thought.close if form.tool_format.answer.thought else ""
        text = text.removeprefix(close)
    read = plan.reader().read(text)
    assert read.calls, text
    assert [(call.name, json.loads(call.arguments)) for call in read.calls] == [("get_weather", ARGUMENTS)]


def test_the_generic_format_tells_of_tools_in_the_system_message() -> None:
    messages = parse_messages(
        [
            {"role": "system", "content": "Be brief."},
            *ASKED,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "sunny"},
        ]
    )
    system, user, assistant, result = describe(messages, TOOLS)
    assert system["content"].startswith("Be brief.\n\n# Tools")
    assert '"name": "get_weather"' in system["content"]
    assert user == messages[1]
    assert "tool_calls" not in assistant
    read = make_plan(format_of(""), "", parse_tools(TOOLS, None, None), reasoning="none").reader()
    calls = read.read(assistant["content"]).calls
    assert calls
    assert json.loads(calls[0].arguments) == ARGUMENTS
    assert result == {"role": "user", "content": "<tool_response>\nsunny\n</tool_response>"}
    assert describe(parse_messages(ASKED), [])[0] == messages[1]


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ("x", None, "tools"),
        ({}, None, "tools"),
        ([1], None, "tools[0]"),
        ([{}], None, "tools[0].function"),
        ([{"type": "retrieval"}], None, "tools[0].type"),
        ([tool(name="")], None, "tools[0].function.name"),
        ([tool(name="a b")], None, "tools[0].function.name"),
        ([tool(name="x" * 129)], None, "tools[0].function.name"),
        ([tool(name=5)], None, "tools[0].function.name"),
        ([tool(description=5)], None, "tools[0].function.description"),
        ([tool(strict="yes")], None, "tools[0].function.strict"),
        ([tool(parameters=[])], None, "tools[0].function.parameters"),
        ([tool(parameters={"type": "string"})], None, "tools[0].function.parameters.type"),
        ([tool(), tool()], None, "tools[1].function.name"),
        ([tool(name=f"f{i}") for i in range(MAX_TOOLS + 1)], None, "tools"),
        ([tool()], "any", "tool_choice"),
        ([tool()], 5, "tool_choice"),
        ([tool()], {"type": "tool"}, "tool_choice.type"),
        ([tool()], {"type": "function"}, "tool_choice.function.name"),
        ([tool()], {"type": "function", "function": {"name": "g"}}, "tool_choice.function.name"),
        ([], "required", "tool_choice"),
        (None, "required", "tool_choice"),
    ],
)
def test_bad_tools_are_refused_by_their_place(tools: Any, choice: Any, param: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_tools(tools, choice, None)
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param}: ")


def test_choices() -> None:
    two = [tool(), tool(name="g")]
    assert parse_tools(two, None, None).choice == "auto"
    assert not parse_tools(two, "none", None).active
    assert not parse_tools([], None, None).active
    assert parse_tools(two, "required", None).parallel
    assert not parse_tools(two, "auto", False).parallel
    named = parse_tools(two, {"type": "function", "function": {"name": "g"}}, None)
    assert (list(named.tools), named.choice, named.parallel) == (["g"], "required", False)
