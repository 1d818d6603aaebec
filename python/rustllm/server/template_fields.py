"""Fields of a request whose messages become a prompt."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import SCHEMA, Caps
from rustllm.server.parts import AsGiven, Described, FromClient, Part


class ToolFunction(Part):
    """A function that the model may call."""

    name: str = Field(description="The function's name.")
    description: str | None = Field(None, description="What it does, for the model.")
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema of its arguments.")
    strict: bool | None = Field(None, description="Refuse keywords of the schema that are not enforced.")


class Tool(Part):
    """A tool that the template shows to the model."""

    type: Literal["function"] | None = Field(None, description="Only functions are known.")
    function: ToolFunction = Field(description="The function.")


class ChosenFunction(Part):
    """A function by its name."""

    name: str = Field(description="The function's name.")


class ToolChoice(Part):
    """A tool that must be called."""

    type: Literal["function"] = Field(description="Only functions are known.")
    function: ChosenFunction = Field(description="The function.")


class CalledFunction(Part):
    """A function with the arguments of a call."""

    name: str = Field(description="The function's name.")
    arguments: str | dict[str, Any] | None = Field(None, description="The arguments, as JSON text or as an object.")


class ToolCall(Part):
    """A call that an earlier answer made."""

    id: str | None = Field(None, description="The name by which a tool's message refers to the call.")
    type: str | None = Field(None, description="`function`.")
    function: CalledFunction = Field(description="What was called.")


class ContentPart(Part):
    """A part of a content."""

    type: Literal["text"] = Field(description="Only texts are supported.")
    text: str = Field(description="The text.")


class MessageFields(Part):
    """A message. Further fields are shown to the template."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(description="Who speaks.")
    content: str | list[ContentPart] | None = Field(
        None, description="The text, or parts that are joined by line breaks. Needed unless there are tool calls."
    )
    name: str | None = Field(None, description="The speaker's name, or the tool's.")
    reasoning_content: str | None = Field(None, description="The thoughts before an earlier answer.")
    tool_calls: list[ToolCall] | None = Field(None, description="What an earlier answer called.")
    tool_call_id: str | None = Field(None, description="Which call a tool's message answers.")


#: How messages and tools are bounded.
CAPS: Caps = {"messages": ("messages",), "tools": ("tools",), "tools[].function.parameters": SCHEMA}


class TemplateFields(FromClient):
    """Messages, and how the chat template renders them."""

    model_config = ConfigDict(strict=True)

    caps: ClassVar[Caps] = CAPS

    messages: Annotated[Any, Described(MessageFields, many=True)] = Field(description="The chat so far.")
    tools: list[Annotated[dict[str, Any], AsGiven(Tool)]] | None = Field(
        None, description="Functions that the model may call."
    )
    tool_choice: str | Annotated[dict[str, Any], Described(ToolChoice)] | None = Field(
        None, description="`auto` (the default), `none`, `required`, or a function that must be called."
    )
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may have several calls.")
    enable_thinking: bool | None = Field(
        None, description="Let the model think or not, for templates that read it; as in `chat_template_kwargs`."
    )
    thinking_budget_tokens: int | None = Field(
        None, description="Tokens that a thought may take; -1 is unlimited. By default as --reasoning-budget."
    )
    reasoning_control: bool | None = Field(
        None, description="Let `/v1/chat/completions/control` end the thought while it is written."
    )
    add_generation_prompt: bool | None = Field(None, description="Open the assistant turn; true by default.")
    continue_final_message: bool | None = Field(None, description="Continue the last message instead of answering it.")
    reasoning_effort: str | None = Field(
        None, description="How long to think, for templates that read it; as in `chat_template_kwargs`."
    )
    chat_template: Any = Field(None, description="Refused: templates come from the model or the operator.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Values for the template, of the names that the operator allows."
    )
