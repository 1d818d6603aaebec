"""Ollama's fields and answers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from rustllm.limits import LIST, SCHEMA, Caps
from rustllm.server.answers import Shape
from rustllm.server.embedding import Input
from rustllm.server.openai.models.schemas import ModelDetails
from rustllm.server.parts import AsGiven, Described, FromClient, Part
from rustllm.server.template_fields import CAPS as CHAT_CAPS
from rustllm.server.template_fields import Tool


class Options(Part):
    """Settings of sampling. Those of loading, `num_ctx` among them, change nothing."""

    num_predict: int | None = Field(None, description="Tokens to generate at most; below 0 is unlimited.")
    num_keep: int | None = Field(None, description="Accepted; it changes nothing.")
    seed: int | None = Field(None, description="-1 draws a random seed.")
    temperature: float | None = Field(None, description="0 or below is greedy.")
    top_k: int | None = Field(None, description="0 or below is off.")
    top_p: float | None = Field(None, description="1 or above is off.")
    min_p: float | None = Field(None, description="Least probability, relative to the best token; 0 is off.")
    typical_p: float | None = Field(None, description="Locally typical sampling; 1 is off.")
    repeat_last_n: int | None = Field(None, description="0 is off, -1 is the context.")
    repeat_penalty: float | None = Field(None, description="Divides the logits of recent tokens; 1 is off.")
    presence_penalty: float | None = Field(None, description="Taken from the logits of recent tokens; 0 is off.")
    frequency_penalty: float | None = Field(None, description="Taken once for each appearance; 0 is off.")
    mirostat: int | None = Field(None, description="0 off, 1 or 2.")
    mirostat_tau: float | None = Field(None, description="Mirostat's target entropy.")
    mirostat_eta: float | None = Field(None, description="Mirostat's learning rate.")
    stop: str | list[str] | None = Field(None, description="Texts that end the answer; they are not part of it.")


class AnswerFields(FromClient):
    """What all requests for answers have. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    caps: ClassVar[Caps] = {
        "format": SCHEMA,
        "options.stop": ("stop_strings",),
        "top_logprobs": ("logprobs",),
    }

    model: str | None = Field(None, description="Any name is served.")
    stream: bool | None = Field(None, description="Answer with a line of JSON for each piece; true by default.")
    format: Literal["", "json"] | dict[str, Any] | None = Field(
        None, description="`json`, or a JSON schema that the answer must satisfy."
    )
    options: Options | None = Field(None, description="Settings of sampling.")
    think: bool | Literal["low", "medium", "high", "max"] | None = Field(
        None, description="Let the model think or not, or how long, for templates that read it."
    )
    logprobs: bool | None = Field(None, description="Report log probabilities.")
    top_logprobs: int | None = Field(None, description="Most probable tokens reported with each token, with logprobs.")
    keep_alive: Any = Field(
        None, description="Accepted; the model stays.", json_schema_extra={"type": ["number", "string"]}
    )


class CalledFunction(Part):
    """A function with the arguments of a call."""

    name: str = Field(description="The function's name.")
    arguments: dict[str, Any] | None = Field(None, description="The arguments.")


class Call(Part):
    """A call that an earlier answer made."""

    function: CalledFunction = Field(description="What was called.")


class TurnFields(Part):
    """A message."""

    role: Literal["system", "user", "assistant", "tool"] = Field(description="Who speaks.")
    content: str | None = Field(None, description="The text.")
    thinking: str | None = Field(None, description="The thoughts before an earlier answer.")
    images: list[str] | None = Field(None, description="Refused.")
    tool_calls: list[Call] | None = Field(None, description="What an earlier answer called.")
    tool_name: str | None = Field(None, description="With the role `tool`: which tool this is the result of.")


class ChatRequest(AnswerFields):
    """A chat to be answered."""

    caps: ClassVar[Caps] = {**AnswerFields.caps, **CHAT_CAPS, "messages[].tool_calls": ("tools",)}

    # They are kept as they are: a hundred thousand models take a second to be made.
    messages: list[Annotated[dict[str, Any], AsGiven(TurnFields)]] | None = Field(
        None, description="The chat so far; without any, nothing is generated."
    )
    tools: Annotated[Any, Described(Tool, many=True)] = Field(None, description="Functions that the model may call.")


class GenerateRequest(AnswerFields):
    """A prompt to be answered."""

    caps: ClassVar[Caps] = {**AnswerFields.caps, "context": ("token_ids",), "images": LIST}

    prompt: str | None = Field(None, description="The prompt; without one, nothing is generated.")
    system: str | None = Field(None, description="The system prompt.")
    raw: bool | None = Field(None, description="Continue the prompt as it is, without the chat template.")
    suffix: str | None = Field(None, description="What stands behind the answer, for models that `/infill` is for.")
    template: str | None = Field(None, description="Refused: templates come from the model or the operator.")
    context: list[int] | None = Field(None, description="Refused: send the chat so far to `/api/chat`.")
    images: list[str] | None = Field(None, description="Refused.")


class EmbedRequest(FromClient):
    """Texts whose vectors are wanted."""

    model_config = ConfigDict(strict=True, extra="ignore")

    caps: ClassVar[Caps] = {"input": ("documents", "token_ids")}

    model: str | None = Field(None, description="Any name is served.")
    input: Input = Field(description="A text, token ids, or a list of either; without any the answer has no vectors.")
    dimensions: int | None = Field(None, description="Keep so many of the first values, normalized anew.")
    truncate: bool | None = Field(None, description="Accepted; texts that are too long are refused.")


class OlderEmbedRequest(FromClient):
    """A text whose vector is wanted."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str | None = Field(None, description="Any name is served.")
    prompt: str | None = Field(None, description="The text; without one the vector is empty.")


class ShowRequest(FromClient):
    """A model whose properties are wanted."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str | None = Field(None, description="Any name is served.")
    name: str | None = Field(None, description="The same, by its older name.")
    verbose: bool | None = Field(None, description="Accepted; long arrays are always left out.")


class Function(Shape):
    """What is called."""

    index: int = Field(description="Which call of the answer this is.")
    name: str = Field(description="The function's name.")
    arguments: dict[str, Any] = Field(description="The arguments.")


class ToolCall(Shape):
    """A call of a tool."""

    id: str = Field(description="A name that no other call has.")
    function: Function = Field(description="What is called.")


class Message(Shape):
    """The answer, or what is new of it."""

    role: Literal["assistant"] = Field(description="Who speaks.")
    content: str = Field(description="The text.")
    thinking: str | None = Field(None, description="The thought before it.")
    tool_calls: list[ToolCall] | None = Field(None, description="The calls; each comes as a whole.")


class Answer(Shape):
    """What both kinds of answers have; the counts are in the last line of a stream."""

    model: str = Field(description="The name that the request used, else the model's.")
    created_at: str = Field(description="When it was written.")
    done: bool = Field(description="Whether it is complete.")
    done_reason: Literal["stop", "length", "load", "unload"] | None = Field(None, description="Why it is.")
    total_duration: int | None = Field(None, description="Nanoseconds in all.")
    load_duration: int | None = Field(None, description="Always 0.")
    prompt_eval_count: int | None = Field(None, description="Tokens of the prompt.")
    prompt_eval_duration: int | None = Field(None, description="Nanoseconds that the prompt took.")
    eval_count: int | None = Field(None, description="Tokens generated.")
    eval_duration: int | None = Field(None, description="Nanoseconds that they took.")
    logprobs: list[dict[str, Any]] | None = Field(None, description="With `logprobs`.")


class ChatAnswer(Answer):
    """An answer of `/api/chat`, and a line of its streams."""

    message: Message = Field(description="The answer, or what is new of it.")


class GenerateAnswer(Answer):
    """An answer of `/api/generate`, and a line of its streams."""

    response: str = Field(description="The text, or what is new of it.")
    thinking: str | None = Field(None, description="The thought before it.")


class EmbedAnswer(Shape):
    """The vectors of texts."""

    model: str = Field(description="The name that the request used, else the model's.")
    embeddings: list[list[float]] = Field(description="The vectors, in the order of the texts.")
    total_duration: int = Field(description="Nanoseconds in all.")
    load_duration: int = Field(description="Always 0.")
    prompt_eval_count: int = Field(description="Tokens of all texts.")


class OlderEmbedAnswer(Shape):
    """The vector of a text."""

    embedding: list[float] = Field(description="The vector.")


class ModelEntry(Shape):
    """A model."""

    name: str = Field(description="The model's name.")
    model: str = Field(description="The same.")
    modified_at: str = Field(description="When the file was written.")
    size: int = Field(description="Bytes of all tensors.")
    digest: str = Field(description="A name for this state of the file.")
    details: ModelDetails = Field(description="Of what family it is.")


class RunningModel(ModelEntry):
    """A model in memory."""

    expires_at: str = Field(description="When it leaves memory, which it does not.")
    size_vram: int = Field(description="Bytes on a GPU.")
    context_length: int = Field(description="Context tokens of one slot.")


class Tags(Shape):
    """The one model that is served."""

    models: list[ModelEntry] = Field(description="The models.")


class Processes(Shape):
    """The one model that is served, as one that runs."""

    models: list[RunningModel] = Field(description="The models.")


class Show(Shape):
    """The properties of a model."""

    modelfile: str = Field(description="Where the model came from.")
    parameters: str = Field(description="The defaults of sampling.")
    template: str = Field(description="The chat template's source.")
    details: ModelDetails = Field(description="Of what family it is.")
    model_info: dict[str, Any] = Field(description="The metadata of the file, without long arrays.")
    capabilities: list[str] = Field(description="What it can do.")
    modified_at: str = Field(description="When the file was written.")


class Version(Shape):
    """The version."""

    version: str = Field(description="The version of Ollama whose API this is.")


class OllamaError(Shape):
    """An error in Ollama's shape."""

    error: str = Field(description="It names the field, the value and what is allowed.")
