"""`/v1/messages`: Anthropic's fields and answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import LIST, SCHEMA, Caps
from rustllm.server.answers import Shape
from rustllm.server.parts import Described, FromClient, Part


class ContentBlock(Part):
    """A part of a content. Further keys, `cache_control` among them, change nothing."""

    type: Literal["text", "thinking", "redacted_thinking", "tool_use", "tool_result", "document"] = Field(
        description="What it is; images are refused, and documents that are no plain text."
    )
    text: str | None = Field(None, description="With `text`: the text.")
    thinking: str | None = Field(None, description="With `thinking`: an earlier thought.")
    id: str | None = Field(None, description="With `tool_use`: the call's name.")
    name: str | None = Field(None, description="With `tool_use`: the tool's name.")
    input: dict[str, Any] | None = Field(None, description="With `tool_use`: the arguments.")
    tool_use_id: str | None = Field(None, description="With `tool_result`: the call's name.")
    content: Any = Field(
        None,
        description="With `tool_result`: the result, a text or blocks of text.",
        json_schema_extra={"type": ["string", "array", "null"]},
    )
    source: dict[str, Any] | None = Field(None, description="With `document`: its type, `text`, and its data.")


class TurnFields(Part):
    """A turn of the chat."""

    role: Literal["user", "assistant", "system"] = Field(description="Who speaks.")
    content: str | list[ContentBlock] = Field(description="A text, or blocks.")


class SystemBlock(Part):
    """A part of the system prompt."""

    type: Literal["text"] = Field(description="Only texts are there.")
    text: str = Field(description="The text.")


class Tool(Part):
    """A tool that the model may use."""

    type: Literal["custom"] | None = Field(None, description="Tools that Anthropic runs are refused.")
    name: str = Field(description="The tool's name.")
    description: str | None = Field(None, description="What it does, for the model.")
    input_schema: dict[str, Any] = Field(description="A JSON schema of its input.")
    strict: bool | None = Field(None, description="Refuse keywords of the schema that are not enforced.")


class ToolChoice(Part):
    """Whether tools are used."""

    type: Literal["auto", "any", "tool", "none"] = Field(
        description="`any` is one at least, `tool` the one that is named."
    )
    name: str | None = Field(None, description="With `tool`: the tool's name.")
    disable_parallel_tool_use: bool | None = Field(None, description="Use one at most.")


class Thinking(Part):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "disabled", "adaptive"] = Field(description="`adaptive` is `enabled` without a budget.")
    budget_tokens: int | None = Field(None, ge=0, description="Tokens that a thought may take.")


class OutputFormat(Part):
    """What the answer must be."""

    type: Literal["json_schema"] = Field(description="Only schemas are there.")
    schema_: dict[str, Any] = Field(alias="schema", description="The JSON schema that the answer must satisfy.")


class OutputConfig(Part):
    """How to answer."""

    effort: str | None = Field(None, description="How long to think, for templates that read it.")
    format: OutputFormat | None = Field(None, description="What the answer must be.")


class CountTokensRequest(FromClient):
    """A chat whose tokens are to be counted. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    caps: ClassVar[Caps] = {
        "messages": ("messages",),
        "system": LIST,
        "tools": ("tools",),
        "tools[].input_schema": SCHEMA,
        "output_config.format.schema": SCHEMA,
        "output_format.schema": SCHEMA,
    }

    model: str | None = Field(None, description="Any name is served.")
    messages: Annotated[Any, Described(TurnFields, many=True)] = Field(
        description="The chat so far. A last turn of the assistant is continued."
    )
    system: Any = Field(
        None,
        description="The system prompt, a text or blocks of text.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "array"}, {"type": "null"}]},
    )
    tools: Annotated[Any, Described(Tool, many=True)] = Field(None, description="Tools that the model may use.")
    tool_choice: ToolChoice | None = Field(None, description="Whether tools are used; `auto` by default.")
    thinking: Thinking | None = Field(None, description="Whether the model thinks; as its template has it by default.")
    output_config: OutputConfig | None = Field(None, description="How to answer.")
    output_format: OutputFormat | None = Field(None, description="The same as `output_config.format`.")


class MessagesRequest(CountTokensRequest):
    """A chat to be answered. Unknown fields are ignored."""

    caps: ClassVar[Caps] = {**CountTokensRequest.caps, "stop_sequences": ("stop_strings",)}

    max_tokens: int = Field(ge=0, description="Tokens to generate at most.")
    stop_sequences: list[str] | None = Field(None, description="Texts that end the answer; they are not part of it.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    temperature: float | None = Field(None, description="0 or below is greedy.")
    top_p: float | None = Field(None, description="1 or above is off.")
    top_k: int | None = Field(None, description="0 or below is off.")
    metadata: Any = Field(None, description="Accepted; it changes nothing.", json_schema_extra={"type": "object"})
    service_tier: Any = Field(None, description="Accepted; it changes nothing.", json_schema_extra={"type": "string"})


class AnswerBlock(Shape):
    """A part of an answer."""

    type: Literal["text", "thinking", "tool_use"] = Field(description="What it is.")
    text: str | None = Field(None, description="With `text`: the text.")
    thinking: str | None = Field(None, description="With `thinking`: the thought.")
    signature: str | None = Field(None, description="With `thinking`: empty.")
    id: str | None = Field(None, description="With `tool_use`: by which the result refers to it.")
    name: str | None = Field(None, description="With `tool_use`: the tool's name.")
    input: dict[str, Any] | None = Field(None, description="With `tool_use`: the arguments.")


class MessageUsage(Shape):
    """Token counts."""

    input_tokens: int = Field(description="Tokens of the prompt that were computed.")
    cache_creation_input_tokens: int = Field(description="Always 0: all prompts are cached.")
    cache_read_input_tokens: int = Field(description="Tokens of the prompt that the cache held.")
    output_tokens: int = Field(description="Tokens generated.")


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class Message(Shape):
    """A whole answer."""

    id: str = Field(description="A name that no other answer has.")
    type: Literal["message"] = Field(description="What this is.")
    role: Literal["assistant"] = Field(description="Who speaks.")
    model: str = Field(description="The name that the request used, else the model's.")
    content: list[AnswerBlock] = Field(description="The answer.")
    stop_reason: StopReason | None = Field(description="Why it ended; null at the start of a stream.")
    stop_sequence: str | None = Field(description="The text that ended it.")
    usage: MessageUsage = Field(description="Token counts.")


class MessageEvent(Shape):
    """An event of a stream."""

    type: Literal[
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop", "ping", "error",
    ] = Field(description="What happened.")  # fmt: skip
    message: Message | None = Field(None, description="With `message_start`: the answer without its content.")
    index: int | None = Field(None, description="With `content_block_…`: which block.")
    content_block: AnswerBlock | None = Field(None, description="With `content_block_start`: the empty block.")
    delta: dict[str, Any] | None = Field(None, description="What is new of the block, or of the message.")
    usage: MessageUsage | None = Field(None, description="With `message_delta`: token counts.")


class TokenCount(Shape):
    """How long a prompt is."""

    input_tokens: int = Field(description="Tokens of the prompt.")


class ErrorDetail(Shape):
    """What went wrong."""

    type: str = Field(description="What kind of error it is.")
    message: str = Field(description="It names the field, the value and what is allowed.")


class MessageError(Shape):
    """An error in Anthropic's shape."""

    type: Literal["error"] = Field(description="What this is.")
    error: ErrorDetail = Field(description="What went wrong.")
    request_id: str = Field(description="As in the header `request-id`.")
