"""The tools of a request and the choice among them, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from rustllm.invalid import shown

#: Tools of one request.
MAX_TOOLS = 1024
#: Names are used within grammars and within the syntax of calls.
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")

#: A function that takes nothing.
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class ToolError(ValueError):
    """A tool, or the choice of one, is not what a request can hold; `param` is its place."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


@dataclass(frozen=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    #: A JSON schema of the arguments.
    parameters: Mapping[str, Any]
    #: Whether keywords that cannot be enforced are refused.
    strict: bool = False
    #: Its schema's place in the request.
    place: str = "tools"

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """The schema of each argument."""
        found = resolve(self.parameters, self.parameters).get("properties")
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def required(self) -> frozenset[str]:
        """Arguments that must be given."""
        found = resolve(self.parameters, self.parameters).get("required")
        return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()

    def argument(self, name: str) -> Mapping[str, Any]:
        """The schema of one argument, with what it may refer to."""
        schema = self.properties.get(name)
        if not isinstance(schema, Mapping):
            return {}
        return {**self.definitions, **schema}

    @cached_property
    def definitions(self) -> Mapping[str, Any]:
        """What the schemas of arguments may refer to."""
        return {key: self.parameters[key] for key in ("$defs", "definitions") if key in self.parameters}


@dataclass(frozen=True)
class Tools:
    """What the model may call in one answer, and whether it must."""

    tools: Mapping[str, Tool]
    choice: Literal["none", "auto", "required"] = "auto"
    parallel: bool = True

    @property
    def active(self) -> bool:
        """Whether calls are possible."""
        return bool(self.tools) and self.choice != "none"


def parse_tools(tools: object, choice: object, parallel: bool | None) -> Tools:
    """Checks `tools`, `tool_choice` and `parallel_tool_calls`. Raises ToolError."""
    found = _parse_list(tools)
    mode, name = _parse_choice(choice)
    if name is not None:
        if name not in found:
            known = ", ".join(repr(each) for each in list(found)[:20]) or "there are no tools"
            raise ToolError("tool_choice.function.name", f"{name[:60]!r} is not among the tools; allowed: {known}")
        found = {name: found[name]}
    if mode == "required" and not found:
        raise ToolError("tool_choice", "a call is required, but tools is empty; at least one tool is needed")
    # A forced function is called once, as OpenAI does it.
    return Tools(found, mode, (parallel is not False) and name is None)


def _parse_list(tools: object) -> dict[str, Tool]:
    if tools is None:
        return {}
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise ToolError("tools", f"{shown(tools, 40)} is not a list of tools")
    if len(tools) > MAX_TOOLS:
        raise ToolError("tools", f"{len(tools)} tools; allowed: up to {MAX_TOOLS}")
    found: dict[str, Tool] = {}
    for index, value in enumerate(tools):
        tool = _parse_tool(value, f"tools[{index}]")
        if tool.name in found:
            raise ToolError(f"tools[{index}].function.name", f"{tool.name!r} is there twice; names must differ")
        found[tool.name] = tool
    return found


def _parse_tool(value: object, place: str) -> Tool:
    if not isinstance(value, Mapping):
        raise ToolError(place, f"{shown(value, 40)} is not a tool; expected an object with type and function")
    if value.get("type", "function") != "function":
        raise ToolError(f"{place}.type", f"{shown(value['type'], 40)} is not supported; allowed: 'function'")
    function = value.get("function")
    place = f"{place}.function"
    if not isinstance(function, Mapping):
        raise ToolError(place, f"{shown(function, 40)} is not a function; expected an object with a name")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        allowed = "1 to 128 of the characters A-Z a-z 0-9 _ . : / -"
        raise ToolError(f"{place}.name", f"{shown(name)} is not a name; allowed: {allowed}")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise ToolError(f"{place}.description", f"{shown(description, 40)} is not a text; expected a string")
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise ToolError(f"{place}.strict", f"{shown(strict, 40)} is not a boolean; allowed: true, false")
    return Tool(name, description or "", _parse_parameters(function, place), bool(strict), f"{place}.parameters")


def _parse_parameters(function: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    parameters = function.get("parameters")
    if parameters is None or parameters == {}:
        return NO_PARAMETERS
    place = f"{place}.parameters"
    if not isinstance(parameters, Mapping):
        raise ToolError(place, f"{shown(parameters, 40)} is not a schema; expected an object")
    # Arguments are an object: a schema that only lists properties means that.
    if "type" not in parameters and ("properties" in parameters or len(parameters) == 0):
        return {"type": "object", **parameters}
    kind = parameters.get("type")
    if kind is not None and kind != "object":
        raise ToolError(f"{place}.type", f"{shown(kind, 40)} is not possible for arguments; allowed: 'object'")
    return parameters


def _parse_choice(choice: object) -> tuple[Literal["none", "auto", "required"], str | None]:
    allowed = "'none', 'auto', 'required', {'type': 'function', 'function': {'name': …}}"
    if choice is None:
        return "auto", None
    if choice == "none" or choice == "auto" or choice == "required":
        return choice, None
    if not isinstance(choice, Mapping):
        raise ToolError("tool_choice", f"{shown(choice)} is unknown; allowed: {allowed}")
    if choice.get("type") != "function":
        raise ToolError("tool_choice.type", f"{shown(choice.get('type'))} is unknown; allowed: 'function'")
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise ToolError("tool_choice.function.name", f"{shown(name)} is not a name; expected a string")
    return "required", name


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema`, or what its `$ref` within `root` leads to; empty where that leads nowhere."""
    for _ in range(16):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            target = target.get(part) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            return {}
        schema = target
    return {}
