"""What the endpoints answer, for the documents. Tests hold live answers against these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A part of an answer; it has no other fields than these."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())


class ErrorDetail(Shape):
    """What is wrong."""

    message: str = Field(description="Names the field, what it got and what it allows.")
    type: str
    code: int = Field(description="The HTTP status.")
    param: str | None = Field(description="The field at fault.")
    n_prompt_tokens: int | None = Field(None, description="With exceed_context_size_error.")
    n_ctx: int | None = Field(None, description="With exceed_context_size_error.")


class Error(Shape):
    """Every answer of a status from 400 on."""

    error: ErrorDetail


class Timings(Shape):
    """Counts, milliseconds and rates."""

    cache_n: int = Field(description="Prompt tokens taken from the cache.")
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class PromptProgress(Shape):
    """How far the prompt is computed; only with `return_progress`."""

    total: int
    cache: int
    processed: int
    time_ms: int


class TopProb(Shape):
    """A token with its probability before sampling, or after it with `post_sampling_probs`."""

    id: int
    token: str
    bytes: list[int]
    logprob: float | None = None
    prob: float | None = None


class Prob(TopProb):
    """The token of the answer, with the most probable ones."""

    top_logprobs: list[TopProb] | None = None
    top_probs: list[TopProb] | None = None


class LogProbs(Shape):
    """Probabilities, a token an entry."""

    content: list[Prob]


class PromptDetails(Shape):
    """What the prompt cost."""

    cached_tokens: int


class Usage(Shape):
    """Token counts over all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Bias(Shape):
    """A bias on a token."""

    token: int
    bias: float


class GenerationSettings(Shape):
    """The settings that an answer was made with."""

    seed: int
    temperature: float
    dynatemp_range: float
    dynatemp_exponent: float
    top_k: int
    top_p: float
    min_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    typical_p: float
    adaptive_target: float
    adaptive_decay: float
    repeat_last_n: int
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: list[str]
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    stop: list[str]
    max_tokens: int
    n_predict: int
    n_keep: int
    n_discard: int
    ignore_eos: bool
    stream: bool
    logit_bias: list[Bias]
    n_probs: int
    min_keep: int
    grammar: str
    grammar_lazy: bool
    grammar_triggers: list[Any]
    preserved_tokens: list[int]
    chat_format: str
    reasoning_format: str
    reasoning_in_content: bool
    generation_prompt: str
    samplers: list[str]
    speculative_n_max: int = Field(alias="speculative.n_max")
    speculative_n_min: int = Field(alias="speculative.n_min")
    speculative_p_min: float = Field(alias="speculative.p_min")
    speculative_type: str = Field(alias="speculative.type")
    timings_per_token: bool
    post_sampling_probs: bool
    backend_sampling: bool
    lora: list[Any]


class Completion(Shape):
    """A whole answer of `/completion`, and the last event of a stream."""

    index: int
    content: str
    tokens: list[int] = Field(description="Only with `return_tokens` or `stream`.")
    id_slot: int
    stop: Literal[True]
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: GenerationSettings
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: Literal["eos", "limit", "word"]
    stopping_word: str
    tokens_cached: int
    timings: Timings
    completion_probabilities: list[Prob] | None = Field(None, description="Only with `n_probs`.")


class CompletionEvent(Shape):
    """An event of a stream of `/completion`, before the last."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: Literal[False]
    tokens_predicted: int
    tokens_evaluated: int
    timings: Timings | None = None
    prompt_progress: PromptProgress | None = None
    completion_probabilities: list[Prob] | None = None


class Envelope(Shape):
    """What OpenAI's answers have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage | None = None
    timings: Timings | None = None
    verbose_: Completion | None = Field(None, alias="__verbose", description="Only with `verbose`.")


class ChatMessage(Shape):
    """The answer."""

    role: Literal["assistant"]
    content: str | None


class ChatChoice(Shape):
    """One answer."""

    index: int
    finish_reason: Literal["stop", "length"]
    message: ChatMessage
    logprobs: LogProbs | None = None


class ChatCompletion(Envelope):
    """A whole answer of `/v1/chat/completions`."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class ChatDelta(Shape):
    """What is new."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(Shape):
    """What is new of one answer."""

    index: int
    finish_reason: Literal["stop", "length"] | None
    delta: ChatDelta
    logprobs: LogProbs | None = None


class ChatChunk(Envelope):
    """An event of a stream; the last one has no choices but the usage."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    prompt_progress: PromptProgress | None = None


class TextChoice(Shape):
    """One answer, or what is new of it."""

    index: int
    text: str
    logprobs: LogProbs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(Envelope):
    """A whole answer of `/v1/completions`, and an event of its streams."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    prompt_progress: PromptProgress | None = None


class InputTokens(Shape):
    """How long a prompt is."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class Piece(Shape):
    """A token with its text, or its bytes where they are no text."""

    id: int
    piece: str | list[int]


class Tokens(Shape):
    """The tokens of a text; with `with_pieces` each with its text."""

    tokens: list[int] | list[Piece]


class Content(Shape):
    """The text of tokens."""

    content: str


class Prompt(Shape):
    """The prompt that a chat becomes."""

    prompt: str


class Status(Shape):
    """That requests are served."""

    status: Literal["ok"]


class Success(Shape):
    """That it is done."""

    success: bool


class DefaultSettings(Shape):
    """What a request gets that names nothing."""

    id: int
    id_task: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    params: GenerationSettings


class Modalities(Shape):
    """What is taken beside text."""

    vision: bool
    audio: bool
    video: bool


class Props(Shape):
    """The server's properties."""

    default_generation_settings: DefaultSettings
    total_slots: int
    model_alias: str
    model_path: str
    modalities: Modalities
    endpoint_slots: bool
    endpoint_props: bool
    endpoint_metrics: bool
    webui: bool
    ui: bool
    cors_proxy_enabled: bool
    chat_template: str
    chat_template_caps: dict[str, bool]
    bos_token: str
    eos_token: str
    build_info: str
    is_sleeping: bool


class NextToken(Shape):
    """Where a slot's answer is."""

    has_next_token: bool
    has_new_line: bool
    n_remain: int = Field(description="-1 without a limit.")
    n_decoded: int


class Slot(Shape):
    """What a slot is doing."""

    id: int
    id_task: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    n_prompt_tokens: int
    params: GenerationSettings | None = Field(None, description="Only while processing.")
    next_token: list[NextToken]


class ModelMeta(Shape):
    """Sizes of a model."""

    vocab_type: int
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_embd: int
    n_params: int
    size: int


class ModelCard(Shape):
    """A model in OpenAI's shape."""

    id: str
    aliases: list[str]
    tags: list[str]
    object: Literal["model"]
    created: int
    owned_by: str
    meta: ModelMeta


class ModelDetails(Shape):
    """Of what family a model is."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(Shape):
    """A model in Ollama's shape."""

    name: str
    model: str
    modified_at: str
    size: str
    digest: str
    type: str
    description: str
    tags: list[str]
    capabilities: list[str]
    parameters: str
    details: ModelDetails


class Models(Shape):
    """The one model that is served."""

    object: Literal["list"]
    data: list[ModelCard]
    models: list[OllamaModel]
