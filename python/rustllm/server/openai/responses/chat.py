"""From a request for a response to the chat request that means the same."""

from __future__ import annotations

import re
from typing import Any

from rustllm.invalid import shown
from rustllm.server.openai.responses.items import chat_messages, message_places, refused
from rustllm.server.openai.responses.schemas import ResponsesRequest
from rustllm.server.renamed import Names
from rustllm.server.sampling import SamplingFields

#: What the chat's fields are called here.
NAMES: Names = (
    (r"tools\[(\d+)\]\.function\.parameters", r"tools[\1].parameters"),
    (r"tools\[(\d+)\]\.function", r"tools[\1]"),
    (r"tool_choice\.function\.name", "tool_choice.name"),
    (r"response_format\.json_schema", "text.format"),
    (r"response_format", "text.format"),
    (r"max_tokens", "max_output_tokens"),
    (r"messages(?!\[)", "input"),
)

#: A message of the chat, or a field or a call of one.
_MESSAGE = r"messages\[(\d+)\](?:\.(tool_calls\[\d+\]|\w+)(?:\.function)?)?"

LOGPROBS = "message.output_text.logprobs"

#: Sampling fields that have no meaning for one answer in these shapes.
_OTHERS = {"n", "n_cmpl", "return_progress", "timings_per_token", "return_tokens", "verbose"}


def names(request: ResponsesRequest) -> Names:
    """What the chat's fields are called in a request: what is wrong with a message is so with the item that it was made
    of."""

    def place(match: re.Match[str]) -> str:
        # Only errors ask for it, so it is found out once more rather than kept.
        index, field = int(match[1]), match[2] or ""
        if request.instructions:
            if index == 0:
                return "instructions"
            index -= 1
        found = message_places(request.input)[index]
        return found.get(field) or f"{found['']}.{field}"

    return ((_MESSAGE, place), *NAMES)


def chat_fields(request: ResponsesRequest) -> dict[str, Any]:
    """The fields of the chat. Raises ApiError."""
    _refuse_stored(request)
    system = [{"role": "system", "content": request.instructions}] if request.instructions else []
    tools, choice = _tools(request)
    effort = request.reasoning.effort if request.reasoning is not None else None
    sampling = {name: getattr(request, name) for name in SamplingFields.model_fields if name not in _OTHERS}
    if request.max_output_tokens is not None:
        sampling |= {"max_tokens": request.max_output_tokens, "max_completion_tokens": None, "n_predict": None}
    wants = LOGPROBS in (request.include or ())
    return {
        **sampling,
        # The last event of a stream has all log probabilities, as a whole answer does.
        "stream": None,
        "model": request.model,
        "messages": [*system, *chat_messages(request.input)],
        "tools": tools,
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _format(request),
        "enable_thinking": False if effort == "none" else None,
        "reasoning_effort": None if effort == "none" else effort,
        "logprobs": wants or None,
        "top_logprobs": (request.top_logprobs or 0) if wants else None,
    }


def _refuse_stored(request: ResponsesRequest) -> None:
    for name in ("previous_response_id", "conversation", "prompt"):
        value = getattr(request, name)
        if value is not None:
            raise refused(
                name, f"{shown(value)} cannot be found, since nothing is stored here; send all items in input"
            )
    if request.background:
        raise refused("background", "True is not supported, since nothing is stored here; allowed: False")


def _format(request: ResponsesRequest) -> dict[str, Any] | None:
    form = request.text.format if request.text is not None else None
    if form is None or form["type"] != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {"schema": form.get("schema"), "strict": form.get("strict")}}


def _tools(request: ResponsesRequest) -> tuple[list[dict[str, Any]] | None, Any]:
    """`tools` and `tool_choice` of the chat."""
    tools, choice = _functions(request.tools), request.tool_choice
    if not isinstance(choice, dict):
        return tools, choice
    if choice["type"] == "function":
        return tools, {"type": "function", "function": {"name": choice.get("name")}}
    known = {tool["function"]["name"]: None for tool in tools or ()}
    allowed = set()
    for index, one in enumerate(choice.get("tools") or ()):
        name = one.get("name")
        if not isinstance(name, str) or name not in known:
            message = f"{shown(name)} is not among the tools; allowed: {shown(list(known), 1000)}"
            raise refused(f"tool_choice.tools[{index}].name", message)
        allowed.add(name)
    return [tool for tool in tools or () if tool["function"]["name"] in allowed], choice.get("mode") or "auto"


def _functions(tools: object) -> list[dict[str, Any]] | None:
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise refused("tools", f"{shown(tools, 40)} is not a list of tools")
    found = []
    for index, tool in enumerate(tools):
        place = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise refused(place, f"{shown(tool, 40)} is not a tool; expected an object with type and name")
        if tool.get("type") != "function":
            message = f"{shown(tool.get('type'))} is a tool that only OpenAI's own server has; allowed: 'function'"
            raise refused(f"{place}.type", message)
        if not isinstance(tool.get("name"), str):
            raise refused(f"{place}.name", f"{shown(tool.get('name'), 40)} is not a name; expected a string")
        names = ("name", "description", "parameters", "strict")
        found.append({"type": "function", "function": {name: tool[name] for name in names if name in tool}})
    return found
