"""`/v1/chat/completions`: OpenAI's fields, and llama-server's sampling fields beside them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import SCHEMA, Caps
from rustllm.server.answers import LogProbs, PromptLogprob, PromptProgress, Shape
from rustllm.server.constraints import CAPS, ConstraintFields
from rustllm.server.openai.schemas import Envelope
from rustllm.server.parts import AsGiven, FromClient, Part
from rustllm.server.sampling import SamplingFields
from rustllm.server.template_fields import CAPS as CHAT_CAPS
from rustllm.server.template_fields import TemplateFields


class StreamOptions(FromClient):
    """What a stream carries beside the text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = Field(
        None, description="False: the last chunk has the timings, and none follows with the usage."
    )


class JsonSchemaFormat(Part):
    """A schema with its name."""

    name: str | None = Field(None, description="Accepted; it changes nothing.")
    description: str | None = Field(None, description="Accepted; it changes nothing.")
    schema_: Any = Field(None, alias="schema", description="The JSON schema that the answer must satisfy.")
    strict: bool | None = Field(None, description="Refuse keywords that are not enforced.")


class ResponseFormat(Part):
    """What the answer must be."""

    type: Any = Field(
        None,
        description="What the answer must be.",
        json_schema_extra={"type": "string", "enum": ["text", "json_object", "json_schema"]},
    )
    schema_: Any = Field(None, alias="schema", description="With `json_object`: the JSON schema, on demand.")
    json_schema: JsonSchemaFormat | None = Field(None, description="With `json_schema`: the schema.")


class ChatRequest(TemplateFields, ConstraintFields, SamplingFields):
    """A chat to be answered. Unknown fields are ignored."""

    caps: ClassVar[Caps] = {
        **SamplingFields.caps,
        **CAPS,
        **CHAT_CAPS,
        "top_logprobs": ("logprobs",),
        "response_format.schema": SCHEMA,
        "response_format.json_schema.schema": SCHEMA,
    }

    model: str | None = Field(None, description="Any name is served.")
    stream_options: StreamOptions | None = Field(None, description="What a stream carries beside the text.")
    response_format: Annotated[dict[str, Any], AsGiven(ResponseFormat)] | None = Field(
        None, description="`text`, `json_object` (with `schema` on demand) or `json_schema`."
    )
    logprobs: bool | None = Field(None, description="Report log probabilities.")
    top_logprobs: int | None = Field(None, description="Most probable tokens reported with each token, with logprobs.")
    reasoning_format: str | None = Field(
        None,
        description="`none` leaves thoughts in the text, `deepseek` puts them into `reasoning_content`, "
        "`deepseek-legacy` does both in whole answers, `auto` is `deepseek`.",
    )


class CalledFunction(Shape):
    """A function that is called."""

    name: str = Field(description="The function's name.")
    arguments: str = Field(description="The arguments, as JSON text.")


class ToolCall(Shape):
    """A call of a tool."""

    id: str = Field(description="The name by which the tool's message refers to the call.")
    type: Literal["function"] = Field(description="Only functions are called.")
    function: CalledFunction = Field(description="What is called.")


class ChatMessage(Shape):
    """The answer."""

    role: Literal["assistant"] = Field(description="Who speaks.")
    content: str | None = Field(description="The text; null where the answer is calls only.")
    reasoning_content: str | None = Field(None, description="The thought before the answer.")
    tool_calls: list[ToolCall] | None = Field(None, description="What is called.")


class ChatChoice(Shape):
    """One answer."""

    index: int = Field(description="Which choice this is.")
    finish_reason: Literal["stop", "length", "tool_calls"] = Field(description="Why it ended; `length` is a limit.")
    message: ChatMessage = Field(description="The answer.")
    logprobs: LogProbs | None = Field(None, description="With `logprobs`.")


class ChatCompletion(Envelope):
    """A whole answer of `/v1/chat/completions`."""

    object: Literal["chat.completion"] = Field(description="What this is.")
    choices: list[ChatChoice] = Field(description="The answers.")
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = Field(
        None, description="With `prompt_logprobs`: by token id, for each token of the prompt; null for the first."
    )


class CalledFunctionDelta(Shape):
    """What is new of a function that is called."""

    name: str | None = Field(None, description="The function's name; in the first chunk of the call.")
    arguments: str = Field(description="The JSON text that is new.")


class ToolCallDelta(Shape):
    """What is new of a call."""

    index: int = Field(description="Which call this is.")
    id: str | None = Field(None, description="Its id; in the first chunk of the call.")
    type: Literal["function"] | None = Field(None, description="In the first chunk of the call.")
    function: CalledFunctionDelta = Field(description="What is called.")


class ChatDelta(Shape):
    """What is new."""

    role: Literal["assistant"] | None = Field(None, description="Who speaks; in the first chunk.")
    content: str | None = Field(None, description="The text that is new.")
    reasoning_content: str | None = Field(None, description="What is new of the thought.")
    tool_calls: list[ToolCallDelta] | None = Field(None, description="What is new of a call.")


class ChatChunkChoice(Shape):
    """What is new of one answer."""

    index: int = Field(description="Which choice this is.")
    finish_reason: Literal["stop", "length", "tool_calls"] | None = Field(
        description="Why it ended, in its last chunk."
    )
    delta: ChatDelta = Field(description="What is new.")
    logprobs: LogProbs | None = Field(None, description="With `logprobs`.")


class ChatChunk(Envelope):
    """An event of a stream; the last one has no choices but the usage."""

    object: Literal["chat.completion.chunk"] = Field(description="What this is.")
    choices: list[ChatChunkChoice] = Field(description="What is new.")
    prompt_progress: PromptProgress | None = Field(None, description="With `return_progress`, before the text.")


class InputTokens(Shape):
    """How long a prompt is."""

    object: Literal["response.input_tokens"] = Field(description="What this is.")
    input_tokens: int = Field(description="Tokens of the prompt.")
