"""From Anthropic's request to the chat request that means the same."""

from __future__ import annotations

from typing import Any

from rustllm.invalid import shown
from rustllm.server.anthropic.schemas import CountTokensRequest, MessagesRequest
from rustllm.server.anthropic.turns import chat_messages, refused, system_messages
from rustllm.server.renamed import Names

#: What the chat's fields are called here.
NAMES: Names = (
    (r"tools\[(\d+)\]\.function\.parameters", r"tools[\1].input_schema"),
    (r"tools\[(\d+)\]\.function", r"tools[\1]"),
    (r"tool_choice\.function\.name", "tool_choice.name"),
    (r"response_format\.json_schema\.schema", "output_config.format.schema"),
    (r"stop(?![a-z_])", "stop_sequences"),
)

#: The efforts that templates know, by those that they do not.
_EFFORTS = {"xhigh": "high", "max": "high"}


def prompt_fields(request: CountTokensRequest) -> dict[str, Any]:
    """The fields that make the prompt. Raises ApiError."""
    tools = _tools(request.tools)
    choice, parallel = _choice(request)
    thinking = request.thinking
    config = request.output_config
    output = request.output_format if config is None or config.format is None else config.format
    effort = config.effort if config is not None else None
    return {
        "model": request.model,
        "messages": [*system_messages(request.system), *chat_messages(request.messages)],
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": parallel,
        "enable_thinking": None if thinking is None else thinking.type != "disabled",
        "thinking_budget_tokens": None if thinking is None else thinking.budget_tokens,
        "reasoning_effort": None if effort is None else _EFFORTS.get(effort, effort),
        "response_format": None
        if output is None
        else {"type": "json_schema", "json_schema": {"schema": output.schema_}},
    }


def chat_fields(request: MessagesRequest) -> dict[str, Any]:
    """All fields of the chat. Raises ApiError."""
    return {
        **prompt_fields(request),
        "max_tokens": request.max_tokens,
        "stop": request.stop_sequences,
        "stream": request.stream,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }


def _tools(tools: object) -> list[dict[str, Any]] | None:
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise refused("tools", f"{shown(tools, 40)} is not a list of tools")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _tool(tool: object, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise refused(place, f"{shown(tool, 40)} is not a tool; expected an object with name and input_schema")
    kind = tool.get("type")
    if kind not in (None, "custom"):
        message = f"{shown(kind)} is a tool that only Anthropic's own server has; allowed: 'custom'"
        raise refused(f"{place}.type", message)
    if not isinstance(tool.get("input_schema"), dict):
        raise refused(
            f"{place}.input_schema", f"{shown(tool.get('input_schema'), 40)} is not a schema; expected an object"
        )
    given = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": {**given, "parameters": tool["input_schema"]}}


def _choice(request: CountTokensRequest) -> tuple[Any, bool | None]:
    """`tool_choice` and `parallel_tool_calls`."""
    choice = request.tool_choice
    if choice is None:
        return None, None
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if choice.type == "tool":
        if choice.name is None:
            raise refused("tool_choice.name", "it is missing; expected the name of a tool")
        return {"type": "function", "function": {"name": choice.name}}, parallel
    return {"any": "required"}.get(choice.type, choice.type), parallel
