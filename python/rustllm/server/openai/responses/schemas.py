"""`/v1/responses`: OpenAI's fields and answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rustllm.limits import LIST, SCHEMA, Caps
from rustllm.server.answers import Shape
from rustllm.server.parts import AsGiven, Described, Part
from rustllm.server.sampling import SamplingFields

_ACCEPTED = "Accepted; it changes nothing."


class InputItem(Part):
    """A part of the input."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] | None = Field(
        None, description="What it is; `message` by default. References to stored items are refused."
    )
    role: Literal["user", "assistant", "system", "developer"] | None = Field(
        None, description="With `message`: who speaks."
    )
    content: str | list[dict[str, Any]] | None = Field(
        None, description="With `message` and `reasoning`: the text, or parts with a text; images are refused."
    )
    call_id: str | None = Field(None, description="With `function_call…`: by which the output refers to the call.")
    name: str | None = Field(None, description="With `function_call`: the function's name.")
    arguments: str | None = Field(None, description="With `function_call`: JSON text.")
    output: str | list[dict[str, Any]] | None = Field(
        None, description="With `function_call_output`: the text, or parts with a text."
    )


class Function(Part):
    """A function that the model may call."""

    type: Literal["function"] = Field(description="Only functions are known.")
    name: str = Field(description="The function's name.")
    description: str | None = Field(None, description="What it does, for the model.")
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema of its arguments.")
    strict: bool | None = Field(None, description="Refuse keywords of the schema that are not enforced.")


class ToolChoice(Part):
    """The function to call, or the functions to choose from."""

    type: Literal["function", "allowed_tools"] = Field(description="One function, or some of them.")
    name: str | None = Field(None, description="With `function`: its name.")
    mode: Literal["auto", "required"] | None = Field(None, description="With `allowed_tools`: whether one is called.")
    tools: list[dict[str, Any]] | None = Field(None, description="With `allowed_tools`: functions, by name.")


class TextFormat(Part):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"] = Field(description="What the answer must be.")
    name: str | None = Field(None, description=_ACCEPTED)
    description: str | None = Field(None, description=_ACCEPTED)
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="With `json_schema`: the schema.")
    strict: bool | None = Field(None, description="Refuse keywords of the schema that are not enforced.")


class TextConfig(Part):
    """How texts are written."""

    format: Annotated[dict[str, Any], AsGiven(TextFormat)] | None = Field(
        None, description="What the answer must be; `text` by default."
    )
    verbosity: str | None = Field(None, description=_ACCEPTED)


class Reasoning(Part):
    """How the model thinks."""

    effort: str | None = Field(None, description="How long, for templates that read it; `none` is not at all.")
    summary: str | None = Field(None, description="Accepted; thoughts are given in full.")


class ResponsesRequest(SamplingFields):
    """An input to be answered. Unknown fields are ignored, llama-server's sampling fields are known."""

    caps: ClassVar[Caps] = {
        **SamplingFields.caps,
        "top_logprobs": ("logprobs",),
        "input": ("messages",),
        "tools": ("tools",),
        "tool_choice.tools": ("tools",),
        "include": LIST,
        "metadata": LIST,
        "tools[].parameters": SCHEMA,
        "text.format.schema": SCHEMA,
    }

    model: str | None = Field(None, description="Any name is served.")
    input: Annotated[Any, Described(InputItem, many=True)] = Field(description="A text, or the items so far.")
    instructions: str | None = Field(None, description="The system prompt.")
    max_output_tokens: int | None = Field(None, ge=0, description="Tokens to generate at most.")
    tools: Annotated[Any, Described(Function, many=True)] = Field(None, description="Functions that may be called.")
    tool_choice: Literal["none", "auto", "required"] | Annotated[dict[str, Any], AsGiven(ToolChoice)] | None = Field(
        None, description="Whether functions are called; `auto` by default."
    )
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may have several calls.")
    text: TextConfig | None = Field(None, description="How texts are written.")
    reasoning: Reasoning | None = Field(None, description="How the model thinks.")
    include: list[str] | None = Field(
        None, description="`message.output_text.logprobs` adds log probabilities to texts; others change nothing."
    )
    top_logprobs: int | None = Field(None, description="Most probable tokens reported with each token, with `include`.")
    metadata: dict[str, str] | None = Field(None, description="Given back as it is.")
    store: bool | None = Field(None, description="Accepted; nothing is stored.")
    truncation: str | None = Field(None, description="Accepted; inputs that are too long are refused.")
    user: str | None = Field(None, description="Given back as it is.")
    previous_response_id: str | None = Field(None, description="Refused: nothing is stored. Send all items.")
    conversation: Any = Field(
        None, description="Refused: nothing is stored. Send all items.", json_schema_extra={"type": "object"}
    )
    prompt: Any = Field(None, description="Refused: nothing is stored.", json_schema_extra={"type": "object"})
    background: bool | None = Field(None, description="Only false is supported.")


class OutputPart(Shape):
    """A part of an item."""

    type: Literal["output_text", "reasoning_text"] = Field(description="An answer, or a thought.")
    text: str = Field(description="The text.")
    annotations: list[Any] | None = Field(None, description="With `output_text`: none.")
    logprobs: list[dict[str, Any]] | None = Field(None, description="With `output_text`: as asked for by `include`.")


class OutputItem(Shape):
    """A part of the answer."""

    type: Literal["message", "function_call", "reasoning"] = Field(description="What it is.")
    id: str = Field(description="A name that no other item has.")
    status: Literal["in_progress", "completed", "incomplete"] = Field(description="Whether it is complete.")
    role: Literal["assistant"] | None = Field(None, description="With `message`: who speaks.")
    content: list[OutputPart] | None = Field(None, description="With `message` and `reasoning`: the text.")
    summary: list[Any] | None = Field(None, description="With `reasoning`: none.")
    call_id: str | None = Field(None, description="With `function_call`: by which the output refers to it.")
    name: str | None = Field(None, description="With `function_call`: the function's name.")
    arguments: str | None = Field(None, description="With `function_call`: JSON text.")


class InputDetails(Shape):
    """What the input cost."""

    cached_tokens: int = Field(description="Tokens that the cache held.")
    cache_write_tokens: int = Field(description="Always 0.")


class OutputDetails(Shape):
    """What the output consists of."""

    reasoning_tokens: int = Field(description="Tokens of thoughts, as their text is tokenized.")


class ResponseUsage(Shape):
    """Token counts."""

    input_tokens: int = Field(description="Tokens of the prompt.")
    input_tokens_details: InputDetails = Field(description="What the input cost.")
    output_tokens: int = Field(description="Tokens generated.")
    output_tokens_details: OutputDetails = Field(description="What the output consists of.")
    total_tokens: int = Field(description="Both together.")


class IncompleteDetails(Shape):
    """Why an answer is incomplete."""

    reason: Literal["max_output_tokens"] = Field(description="A limit was reached.")


class ResponseError(Shape):
    """What went wrong within a stream."""

    code: Literal["server_error"] = Field(description="What kind of error it is.")
    message: str = Field(description="What went wrong.")


class Response(Shape):
    """A whole answer."""

    id: str = Field(description="A name that no other answer has.")
    object: Literal["response"] = Field(description="What this is.")
    created_at: int = Field(description="Seconds since 1970.")
    completed_at: int | None = Field(description="Seconds since 1970, when it is complete.")
    status: Literal["in_progress", "completed", "incomplete", "failed"] = Field(description="Whether it is complete.")
    error: ResponseError | None = Field(description="What went wrong.")
    incomplete_details: IncompleteDetails | None = Field(description="Why it is incomplete.")
    model: str = Field(description="The name that the request used, else the model's.")
    output: list[OutputItem] = Field(description="The answer.")
    usage: ResponseUsage | None = Field(description="Token counts, at the end.")
    instructions: str | None = Field(description="As in the request.")
    max_output_tokens: int | None = Field(description="As in the request.")
    metadata: dict[str, str] = Field(description="As in the request.")
    parallel_tool_calls: bool = Field(description="As in the request; true by default.")
    previous_response_id: None = Field(description="Nothing is stored.")
    reasoning: dict[str, Any] = Field(description="As in the request.")
    store: Literal[False] = Field(description="Nothing is stored.")
    background: Literal[False] = Field(description="Answers come at once.")
    temperature: float = Field(description="As it was used.")
    top_p: float = Field(description="As it was used.")
    text: dict[str, Any] = Field(description="As in the request.")
    tool_choice: Any = Field(
        description="As in the request; `auto` by default.", json_schema_extra={"type": ["string", "object"]}
    )
    tools: list[dict[str, Any]] = Field(description="As in the request.")
    top_logprobs: int = Field(description="As in the request.")
    truncation: Literal["disabled"] = Field(description="Inputs that are too long are refused.")
    user: str | None = Field(description="As in the request.")


class ResponseEvent(Shape):
    """An event of a stream."""

    type: Literal[
        "response.created", "response.in_progress", "response.output_item.added", "response.output_item.done",
        "response.content_part.added", "response.content_part.done", "response.output_text.delta",
        "response.output_text.done", "response.reasoning_text.delta", "response.reasoning_text.done",
        "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.completed",
        "response.incomplete", "response.failed",
    ] = Field(description="What happened.")  # fmt: skip
    sequence_number: int = Field(description="Which event this is.")
    response: Response | None = Field(None, description="The answer so far, in events about all of it.")
    output_index: int | None = Field(None, description="Which item.")
    item: OutputItem | None = Field(None, description="With `…output_item…`: the item.")
    item_id: str | None = Field(None, description="The item's name, in events about its content.")
    content_index: int | None = Field(None, description="Which part of the item.")
    part: OutputPart | None = Field(None, description="With `…content_part…`: the part.")
    delta: str | None = Field(None, description="What is new of the text or of the arguments.")
    text: str | None = Field(None, description="With `…text.done`: the whole text.")
    arguments: str | None = Field(None, description="With `…arguments.done`: all arguments.")
    name: str | None = Field(None, description="With `…arguments.done`: the function's name.")
    logprobs: list[dict[str, Any]] | None = Field(None, description="With `…output_text…`: none; the item has them.")
