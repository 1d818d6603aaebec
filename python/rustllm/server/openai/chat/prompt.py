"""The text of a chat request's prompt, made beside the event loop."""

from __future__ import annotations

from rustllm.chat.prompt import ChatFields, chat_size, render_chat
from rustllm.server.state import INLINE_CHARS, Model, ServerState


async def chat_prompt(state: ServerState, model: Model, fields: ChatFields) -> str:
    """Checks and renders the messages. Raises InvalidRequestError, MessageError, ToolError, TemplateError or
    ContextExceededError."""
    return await state.off_loop(chat_size(fields, INLINE_CHARS), lambda: render_chat(model, state.settings, fields))
