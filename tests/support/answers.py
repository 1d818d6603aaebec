"""Answers with tool calls as models of each format write them: written after their templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rustllm.chat.tool import Tools, parse_tools

Arguments = dict[str, Any]
#: Name and arguments of each call.
Calls = list[tuple[str, Arguments]]

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "ratio": {"type": "number"},
        "exact": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "extra": {"type": "object"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "note": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/text"}]},
    },
    "$defs": {"text": {"type": "string", "maxLength": 5}},
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "get", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "stop"}},
]


def tools(choice: Any = "auto", parallel: bool = True) -> Tools:
    """The tools, checked."""
    return parse_tools(TOOLS, choice, parallel)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _objects(calls: Calls, name: str = "name", arguments: str = "arguments", tail: str = "") -> list[str]:
    return [f'{{"{name}": "{n}", "{arguments}": {_json(a)}{tail}}}' for n, a in calls]


def hermes(calls: Calls) -> str:
    return "".join(f"\n<tool_call>\n{call}\n</tool_call>" for call in _objects(calls))


def llama3(calls: Calls) -> str:
    return _objects(calls[:1], arguments="parameters")[0]


def nemo(calls: Calls) -> str:
    parts = _objects(calls, tail=', "id": "a1B2c3D4e"')
    return f"[TOOL_CALLS][{', '.join(parts)}]"


def small(calls: Calls) -> str:
    return "".join(f"[TOOL_CALLS]{n}[CALL_ID]a1B2c3D4e[ARGS]{_json(a)}" for n, a in calls)


def devstral(calls: Calls) -> str:
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{_json(a)}" for n, a in calls)


def deepseek_r1(calls: Calls) -> str:
    parts = [
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{_json(a)}\n```<｜tool▁call▁end｜>" for n, a in calls
    ]
    return "<｜tool▁calls▁begin｜>" + "\n".join(parts) + "<｜tool▁calls▁end｜>"


def deepseek_v31(calls: Calls) -> str:
    parts = [f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{_json(a)}<｜tool▁call▁end｜>" for n, a in calls]
    return "<｜tool▁calls▁begin｜>" + "".join(parts) + "<｜tool▁calls▁end｜>"


def _dsml(calls: Calls, section: str) -> str:
    text = f"\n\n<｜DSML｜{section}>\n"
    for name, arguments in calls:
        text += f'<｜DSML｜invoke name="{name}">\n'
        for key, value in arguments.items():
            is_text = "true" if isinstance(value, str) else "false"
            text += f'<｜DSML｜parameter name="{key}" string="{is_text}">{_plain(value)}</｜DSML｜parameter>\n'
        text += "</｜DSML｜invoke>\n"
    return text + f"</｜DSML｜{section}>"


def deepseek_v32(calls: Calls) -> str:
    return _dsml(calls, "function_calls")


def deepseek_v4(calls: Calls) -> str:
    return _dsml(calls, "tool_calls")


def qwen3_coder(calls: Calls) -> str:
    text = ""
    for name, arguments in calls:
        text += f"\n<tool_call>\n<function={name}>\n"
        text += "".join(f"<parameter={k}>\n{_plain(v)}\n</parameter>\n" for k, v in arguments.items())
        text += "</function>\n</tool_call>"
    return text


def seed_oss(calls: Calls) -> str:
    text = ""
    for name, arguments in calls:
        text += f"\n<seed:tool_call>\n<function={name}>\n"
        text += "".join(f"<parameter={k}>{_plain(v)}</parameter>\n" for k, v in arguments.items())
        text += "</function>\n</seed:tool_call>"
    return text


def glm47(calls: Calls) -> str:
    text = ""
    for name, arguments in calls:
        pairs = (f"<arg_key>{k}</arg_key><arg_value>{_plain(v)}</arg_value>" for k, v in arguments.items())
        text += f"<tool_call>{name}{''.join(pairs)}</tool_call>"
    return text


def glm45(calls: Calls) -> str:
    text = ""
    for name, arguments in calls:
        pairs = (f"<arg_key>{k}</arg_key>\n<arg_value>{_plain(v)}</arg_value>\n" for k, v in arguments.items())
        text += f"\n<tool_call>{name}\n{''.join(pairs)}</tool_call>"
    return text


def kimi(calls: Calls) -> str:
    parts = [
        f"<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{_json(a)}<|tool_call_end|>"
        for i, (n, a) in enumerate(calls)
    ]
    return "<|tool_calls_section_begin|>" + "".join(parts) + "<|tool_calls_section_end|>"


def minimax(calls: Calls) -> str:
    text = "\n<minimax:tool_call>\n"
    for name, arguments in calls:
        pairs = (f'<parameter name="{k}">{_plain(v)}</parameter>\n' for k, v in arguments.items())
        text += f'<invoke name="{name}">\n{"".join(pairs)}</invoke>\n'
    return text + "</minimax:tool_call>"


def cohere(calls: Calls) -> str:
    parts = [
        f'    {{"tool_call_id": "{i}", "tool_name": "{n}", "parameters": {_json(a)}}}' for i, (n, a) in enumerate(calls)
    ]
    return "<|START_ACTION|>[\n" + ",\n".join(parts) + "\n]<|END_ACTION|>"


def functionary31(calls: Calls) -> str:
    return "".join(f"<function={n}>{_json(a)}</function>" for n, a in calls)


def functionary32(calls: Calls) -> str:
    return "".join(f">>>{n}\n{_json(a)}" for n, a in calls)


def firefunction(calls: Calls) -> str:
    return f" functools[{', '.join(_objects(calls))}]"


def nemotron(calls: Calls) -> str:
    return f"<TOOLCALL>[{', '.join(_objects(calls))}]</TOOLCALL>"


def granite(calls: Calls) -> str:
    return f"<|tool_call|>[{', '.join(_objects(calls))}]"


def apertus(calls: Calls) -> str:
    parts = (f'{{"{n}": {_json(a)}}}' for n, a in calls)
    return f"<|tools_prefix|>[{', '.join(parts)}]<|tools_suffix|>"


def lfm2(calls: Calls) -> str:
    parts = (f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in calls)
    return f"<|tool_call_start|>[{', '.join(parts)}]<|tool_call_end|>"


def gpt_oss(calls: Calls) -> str:
    name, arguments = calls[0]
    return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{_json(arguments)}<|call|>"


def gigachat(calls: Calls) -> str:
    return "".join(f"<|function_call|>{call}" for call in _objects(calls))


def hunyuan(calls: Calls) -> str:
    text = "<tool_calls:opensource>\n"
    for name, arguments in calls:
        text += f"<tool_call:opensource>{name}<tool_sep:opensource>\n"
        for key, value in arguments.items():
            text += f"<arg_key:opensource>{key}</arg_key:opensource>\n"
            text += f"<arg_value:opensource>{_plain(value)}</arg_value:opensource>\n"
        text += "</tool_call:opensource>\n"
    return text + "</tool_calls:opensource>"


def minicpm(calls: Calls) -> str:
    parts = []
    for name, arguments in calls:
        text = f'<function name="{name}">'
        for key, value in arguments.items():
            special = isinstance(value, str) and any(char in value for char in "<&\n")
            shown = f"<![CDATA[{value}]]>" if special else _plain(value)
            text += f'<param name="{key}">{shown}</param>'
        parts.append(text + "</function>")
    return "\n".join(parts)


#: Each format's writer, by the format's name.
WRITERS: dict[str, list[Callable[[Calls], str]]] = {
    "Hermes 2 Pro": [hermes],
    "Generic": [hermes],
    "Llama 3.x": [llama3],
    "Mistral Nemo": [nemo],
    "Mistral Small": [small, devstral],
    "DeepSeek R1": [deepseek_r1],
    "DeepSeek V3.1": [deepseek_v31],
    "DeepSeek V3.2": [deepseek_v32],
    "DeepSeek V4": [deepseek_v4],
    "Qwen3 Coder": [qwen3_coder],
    "Seed-OSS": [seed_oss],
    "GLM 4.7": [glm47],
    "GLM 4.5": [glm45],
    "Kimi K2": [kimi],
    "MiniMax M2": [minimax],
    "Command R7B": [cohere],
    "Functionary v3.1 Llama 3.1": [functionary31],
    "Functionary v3.2": [functionary32],
    "FireFunction v2": [firefunction],
    "Nemotron v2": [nemotron],
    "Granite": [granite],
    "Apertus": [apertus],
    "LFM2 with JSON tools": [lfm2],
    "GPT-OSS": [gpt_oss],
    "GigaChat 3": [gigachat],
    "Hunyuan 3": [hunyuan],
    "MiniCPM 5": [minicpm],
}

#: Formats whose answers have one call at most.
SINGLE = ("Llama 3.x", "GPT-OSS")
