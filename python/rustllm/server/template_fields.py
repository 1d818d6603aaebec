"""Fields of a request whose messages become a prompt."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

#: Tools of one request: several times what real clients send.
MAX_TOOLS = 1024


class TemplateFields(BaseModel):
    """Messages, and how the chat template renders them."""

    model_config = ConfigDict(strict=True)

    messages: Any = Field(description="A list of messages with role and content.")
    tools: list[dict[str, Any]] | None = Field(
        None, max_length=MAX_TOOLS, description="Tools that the template shows to the model."
    )
    add_generation_prompt: bool | None = Field(None, description="Open the assistant turn; true by default.")
    continue_final_message: bool | None = Field(None, description="Continue the last message instead of answering it.")
    chat_template: Any = Field(None, description="Refused: templates come from the model or the operator.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Values for the template, of the names that the operator allows."
    )
