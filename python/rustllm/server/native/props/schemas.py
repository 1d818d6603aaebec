"""`/props` and `/slots`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rustllm.server.answers import Shape
from rustllm.server.generation_settings import PublicSettings


class Success(Shape):
    """That it is done."""

    success: bool = Field(description="Always true; anything else is an error.")


class DefaultSettings(Shape):
    """What a request gets that names nothing."""

    id: int = Field(description="Always 0; the settings are those of every slot.")
    id_task: int = Field(description="Always -1.")
    n_ctx: int = Field(description="Context tokens of one slot.")
    speculative: bool = Field(description="Whether drafts are used; they are not.")
    is_processing: bool = Field(description="Always false.")
    params: PublicSettings = Field(description="The settings.")


class Modalities(Shape):
    """What is taken beside text."""

    vision: bool = Field(description="Images.")
    audio: bool = Field(description="Sound.")
    video: bool = Field(description="Moving images.")


class TemplateCaps(Shape):
    """What the chat template can show the model, found out by rendering short chats."""

    supports_object_arguments: bool = Field(description="Arguments of tool calls are written from objects.")
    supports_parallel_tool_calls: bool = Field(description="Several tool calls in one message are written.")
    supports_preserve_reasoning: bool = Field(description="The reasoning of earlier answers is written.")
    supports_reasoning_effort: bool = Field(description="`reasoning_effort` changes the prompt.")
    supports_string_content: bool = Field(description="Contents that are texts are written.")
    supports_system_role: bool = Field(
        description="System messages are written; otherwise they lead the next user message."
    )
    supports_tool_calls: bool = Field(description="Tool calls of earlier answers are written.")
    supports_tools: bool = Field(description="The tools of a request are written.")
    supports_typed_content: bool = Field(description="Contents that are lists of parts are written.")


class Props(Shape):
    """The server's properties."""

    default_generation_settings: DefaultSettings = Field(description="What a request gets that names nothing.")
    total_slots: int = Field(description="Requests that run at once.")
    model_alias: str = Field(description="The model's name.")
    model_ftype: str = Field(description="The type of most of the model's weights, in llama.cpp's words.")
    model_path: str = Field(description="The model's file.")
    modalities: Modalities = Field(description="What is taken beside text.")
    media_marker: str = Field(description="What stands for media in a prompt; empty while none are taken.")
    endpoint_slots: bool = Field(description="Whether `/slots` is open.")
    endpoint_props: bool = Field(description="Whether `POST /props` is open.")
    endpoint_metrics: bool = Field(description="Whether `/metrics` is open.")
    webui: bool = Field(description="Whether a page is served at `/`; the older name.")
    ui: bool = Field(description="Whether a page is served at `/`.")
    ui_settings: dict[str, Any] = Field(description="The operator's settings of that page.")
    cors_proxy_enabled: bool = Field(description="Whether the server fetches pages for the page at `/`.")
    chat_template: str = Field(description="The template's source, or the name of a built-in format.")
    chat_template_tool_use: str | None = Field(
        None, description="The model's other template, for chats with tools, where it has one."
    )
    chat_template_caps: TemplateCaps = Field(description="What the template supports.")
    bos_token: str = Field(description="The text of the token that begins a sequence.")
    eos_token: str = Field(description="The text of the token that ends one.")
    build_info: str = Field(description="The build of the server.")
    limits: dict[str, int] = Field(description="What a request may take, and the server as a whole; docs/limits.md.")
    is_sleeping: bool = Field(description="Whether the model is unloaded for want of requests.")


class NextToken(Shape):
    """Where a slot's answer is."""

    has_next_token: bool = Field(description="Whether the answer goes on.")
    has_new_line: bool = Field(description="Whether the text has a line break.")
    n_remain: int = Field(description="Tokens that may still come; -1 without a limit.")
    n_decoded: int = Field(description="Tokens generated so far.")


class Slot(Shape):
    """What a slot is doing."""

    id: int = Field(description="The slot.")
    id_task: int = Field(description="The request that runs in it; -1 for none.")
    n_ctx: int = Field(description="Context tokens of the slot.")
    speculative: bool = Field(description="Whether drafts are used; they are not.")
    is_processing: bool = Field(description="Whether a request runs in it.")
    n_prompt_tokens: int = Field(description="Tokens that it has taken in, of prompt and answer.")
    n_prompt_tokens_processed: int = Field(description="Prompt tokens computed so far.")
    n_prompt_tokens_cache: int = Field(description="Prompt tokens taken from the cache.")
    params: PublicSettings | None = Field(None, description="The request's settings, while processing.")
    next_token: list[NextToken] = Field(description="Where the answer is; one entry.")
