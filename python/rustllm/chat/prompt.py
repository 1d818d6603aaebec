"""From a chat's messages to the text of its prompt, and the plan for its answers."""

from __future__ import annotations

from typing import Any, Protocol

from rustllm._rustllm import Engine
from rustllm.chat.messages import Message, parse_messages
from rustllm.chat.plan import Plan, make_plan, text_plan
from rustllm.chat.reasoning import REASONING_FORMATS, THINK, reasoning_format
from rustllm.chat.template import ALLOWED_KWARGS, ChatTemplate, check_kwargs, render_prompt
from rustllm.chat.tool import Tools, parse_tools
from rustllm.chat.tools.generic import describe
from rustllm.config import ServerSettings
from rustllm.invalid import invalid, shown
from rustllm.measures import size


class ChatFields(Protocol):
    """The fields of a chat that its template sees."""

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


class ChatModel(Protocol):
    """What chats need to know of a model."""

    template: ChatTemplate
    template_caps: dict[str, bool]

    @property
    def native(self) -> Engine:
        """The native engine."""


def chat_tools(fields: ChatFields) -> Tools:
    """What the chat says of tools. Raises ToolError."""
    return parse_tools(fields.tools, fields.tool_choice, fields.parallel_tool_calls)


def chat_size(fields: ChatFields, most: int) -> int:
    """What a chat's prompt is made of, in characters; counted up to a little more than `most`."""
    return size([fields.messages, fields.tools, fields.tool_choice, fields.chat_template_kwargs], most)


def render_chat(model: ChatModel, settings: ServerSettings, fields: ChatFields) -> str:
    """Checks the messages and makes the prompt of them. Raises InvalidRequestError, MessageError, ToolError,
    TemplateError or ContextExceededError."""
    if fields.chat_template is not None:
        raise invalid("chat_template", "a template comes from the model or the operator, never from a request")
    continue_final = bool(fields.continue_final_message)
    if continue_final and fields.add_generation_prompt:
        raise invalid("continue_final_message", "it cannot be combined with add_generation_prompt")
    if fields.chat_template_kwargs:
        check_kwargs(fields.chat_template_kwargs, ALLOWED_KWARGS.union(settings.allowed_template_kwargs))
    messages, tools = _with_tools(model, parse_messages(fields.messages), fields)
    # Before the template's own limits, which would speak of the template.
    model.native.check_texts([message["content"] for message in messages])
    return render_prompt(
        model.template,
        messages,
        add_generation_prompt=fields.add_generation_prompt is not False and not continue_final,
        continue_final=continue_final,
        prefill=settings.prefill_assistant,
        tools=tools,
        kwargs=_kwargs(settings, fields),
    )


def _kwargs(settings: ServerSettings, fields: ChatFields) -> dict[str, Any]:
    """Values for the template: the operator's, then the request's."""
    named = {"enable_thinking": fields.enable_thinking, "reasoning_effort": fields.reasoning_effort}
    given = {name: value for name, value in named.items() if value is not None}
    return {**settings.template_kwargs, **given, **(fields.chat_template_kwargs or {})}


def _with_tools(
    model: ChatModel, messages: list[Message], fields: ChatFields
) -> tuple[list[Message], list[dict[str, Any]] | None]:
    """The messages and the tools as the template gets them."""
    chosen = chat_tools(fields)
    if model.template.tool_format.shows_tools or model.template_caps.get("supports_tools"):
        return messages, fields.tools or None
    # A template that knows no tools knows no calls and results either.
    return describe(messages, (fields.tools or []) if chosen.active else []), None


def chat_plan(model: ChatModel, settings: ServerSettings, prompt: str, fields: ChatFields, wanted: str | None) -> Plan:
    """The plan for answers to `prompt`; `wanted` is the reasoning format that the chat asks for."""
    if wanted is not None and wanted not in REASONING_FORMATS:
        allowed = ", ".join(repr(name) for name in REASONING_FORMATS)
        raise invalid("reasoning_format", f"{shown(wanted)} is unknown; allowed: {allowed}")
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
        thinks=_kwargs(settings, fields).get("enable_thinking") is not False,
        budget=None if budget < 0 else budget,
        controlled=bool(fields.reasoning_control),
        budget_message=settings.reasoning_budget_message,
    )
