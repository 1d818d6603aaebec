"""The text of a chat request's prompt, made beside the event loop."""

from __future__ import annotations

from rustllm.chat.prompt import ChatFields, chat_rendering
from rustllm.server.state import Model, ServerState


async def chat_prompt(state: ServerState, model: Model, fields: ChatFields) -> str:
    """Renders the messages. Raises InvalidRequestError, MessageError, ToolError or TemplateError."""
    rendering = chat_rendering(model, state.settings, fields)
    return await state.off_loop(rendering.size, rendering.render)
