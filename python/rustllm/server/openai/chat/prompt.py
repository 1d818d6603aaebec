"""From a chat request to the text of its prompt, and the plan for its answers."""

from __future__ import annotations

from typing import Any, Protocol

from rustllm.chat.messages import Message, parse_messages
from rustllm.chat.plan import Plan, make_plan, text_plan
from rustllm.chat.reasoning import REASONING_FORMATS, THINK, reasoning_format
from rustllm.chat.template import ALLOWED_KWARGS, check_kwargs, render_prompt
from rustllm.chat.tool import Tools, parse_tools
from rustllm.chat.tools.generic import describe
from rustllm.server.errors import ApiError
from rustllm.server.state import Model, ServerState


class ChatFields(Protocol):
    """The fields of a request that a template sees."""

    messages: Any
    tools: Any
    tool_choice: Any
    parallel_tool_calls: bool | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None
    chat_template: Any
    chat_template_kwargs: dict[str, Any] | None
    enable_thinking: bool | None
    thinking_budget_tokens: int | None
    reasoning_effort: str | None
    reasoning_control: bool | None


def chat_tools(fields: ChatFields) -> Tools:
    """What the request says of tools. Raises ToolError."""
    return parse_tools(fields.tools, fields.tool_choice, fields.parallel_tool_calls)


async def chat_prompt(state: ServerState, model: Model, fields: ChatFields) -> str:
    """Renders the messages. Raises ApiError, MessageError or TemplateError."""
    if fields.chat_template is not None:
        message = "chat_template: a template comes from the model or the operator, never from a request"
        raise ApiError(400, message, param="chat_template")
    continue_final = bool(fields.continue_final_message)
    if continue_final and fields.add_generation_prompt:
        message = "continue_final_message: it cannot be combined with add_generation_prompt"
        raise ApiError(400, message, param="continue_final_message")
    if fields.chat_template_kwargs:
        check_kwargs(fields.chat_template_kwargs, ALLOWED_KWARGS.union(state.settings.allowed_template_kwargs))
    messages = parse_messages(fields.messages)
    messages, tools = _with_tools(model, messages, fields)
    generate = fields.add_generation_prompt is not False

    def render() -> str:
        # Before the template's own limits, which would speak of the template.
        model.native.check_texts([message["content"] for message in messages])
        return render_prompt(
            model.template,
            messages,
            add_generation_prompt=generate and not continue_final,
            continue_final=continue_final,
            prefill=state.settings.prefill_assistant,
            tools=tools,
            kwargs=_kwargs(state, fields),
        )

    return await state.off_loop(sum(len(message["content"]) for message in messages), render)


def _kwargs(state: ServerState, fields: ChatFields) -> dict[str, Any]:
    """Values for the template: the operator's, then the request's."""
    named = {"enable_thinking": fields.enable_thinking, "reasoning_effort": fields.reasoning_effort}
    given = {name: value for name, value in named.items() if value is not None}
    return {**state.settings.template_kwargs, **given, **(fields.chat_template_kwargs or {})}


def _with_tools(
    model: Model, messages: list[Message], fields: ChatFields
) -> tuple[list[Message], list[dict[str, Any]] | None]:
    """The messages and the tools as the template gets them."""
    chosen = chat_tools(fields)
    if model.template.tool_format.shows_tools or model.template_caps.get("supports_tools"):
        return messages, fields.tools or None
    # A template that knows no tools knows no calls and results either.
    return describe(messages, (fields.tools or []) if chosen.active else []), None


def chat_plan(state: ServerState, model: Model, prompt: str, fields: ChatFields, wanted: str | None) -> Plan:
    """The plan for answers to `prompt`; `wanted` is the reasoning format that the request asks for."""
    if wanted is not None and wanted not in REASONING_FORMATS:
        allowed = ", ".join(repr(name) for name in REASONING_FORMATS)
        message = f"reasoning_format: {wanted!r:.60} is unknown; allowed: {allowed}"
        raise ApiError(400, message, param="reasoning_format")
    settings = state.settings
    if settings.skip_chat_parsing:
        return text_plan()
    wished = fields.thinking_budget_tokens
    budget = settings.reasoning_budget if wished is None else wished
    explicit = (wanted or settings.reasoning_format) in ("deepseek", "deepseek-legacy")
    return make_plan(
        model.template.tool_format.with_thought(THINK if explicit else None),
        prompt,
        chat_tools(fields),
        reasoning=reasoning_format(wanted, settings.reasoning_format),
        thinks=_kwargs(state, fields).get("enable_thinking") is not False,
        budget=None if budget < 0 else budget,
        controlled=bool(fields.reasoning_control),
        budget_message=settings.reasoning_budget_message,
    )
