"""From a chat request to the text of its prompt."""

from __future__ import annotations

from typing import Any, Protocol

from rustllm.chat.messages import parse_messages
from rustllm.chat.template import ALLOWED_KWARGS, check_kwargs, render_prompt
from rustllm.server.errors import ApiError
from rustllm.server.state import Model, ServerState


class ChatFields(Protocol):
    """The fields of a request that a template sees."""

    messages: Any
    tools: list[dict[str, Any]] | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None
    reasoning_effort: str | None
    chat_template: Any
    chat_template_kwargs: dict[str, Any] | None


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
    effort = {} if fields.reasoning_effort is None else {"reasoning_effort": fields.reasoning_effort}
    messages = parse_messages(fields.messages)
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
            tools=fields.tools,
            kwargs={**state.settings.template_kwargs, **effort, **(fields.chat_template_kwargs or {})},
        )

    return await state.off_loop(sum(len(message["content"]) for message in messages), render)
