"""Chat templates: from messages to the text of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2

from rustllm.chat.builtin import BUILTIN, detect_builtin, render_builtin
from rustllm.chat.caps import capabilities
from rustllm.chat.messages import Message, MessageError
from rustllm.chat.quirks import (
    Quirk,
    apply_quirks,
    fit_arguments,
    quirks_of,
    takes_objects,
    thinks_by_default,
    variables,
)
from rustllm.chat.sandbox import MAX_CHARS, Sandbox, strftime_at
from rustllm.chat.tools import format_of
from rustllm.chat.tools.descriptor import ToolFormat

#: Keyword arguments that a request may pass to a template. Anything else could shadow what the
#: template relies on.
ALLOWED_KWARGS = frozenset(
    {
        "enable_thinking",
        "thinking",
        "reasoning_effort",
        "custom_instructions",
        "documents",
        "date_string",
        "xml_tools",
        "preserve_reasoning",
        "preserve_thinking",
        "clear_thinking",
        "truncate_history_thinking",
        "drop_thinking",
    }
)


class TemplateError(ValueError):
    """A template could not be rendered; `param` is the request's field at fault."""

    def __init__(self, message: str, param: str = "messages") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the special tokens that it may name.

    `source` is jinja text, or the name of a built-in template. Without `jinja`, a source that is
    not a name is only recognised, as llama-server does: its format decides which built-in one is
    used.
    """

    source: str
    bos: str = ""
    eos: str = ""
    jinja: bool = True
    _compiled: jinja2.Template | None = field(default=None, compare=False, repr=False)
    _builtin: str | None = field(default=None, compare=False, repr=False)
    _takes_system: bool = field(default=True, compare=False, repr=False)
    _thinks: bool = field(default=True, compare=False, repr=False)
    _takes_objects: bool = field(default=False, compare=False, repr=False)
    _quirks: tuple[Quirk, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        builtin = self.source if self.source in BUILTIN else None
        if builtin is None and not self.jinja:
            builtin = detect_builtin(self.source) or "chatml"
        object.__setattr__(self, "_builtin", builtin)
        if builtin is None:
            try:
                object.__setattr__(self, "_compiled", Sandbox().from_string(self.source))
            except Exception as error:  # of the parser, or of Python's compiler, which gets what the parser makes of it
                raise TemplateError(f"the chat template cannot be parsed: {_describe(error)}") from error
            object.__setattr__(self, "_takes_system", self._renders_system())
            object.__setattr__(self, "_thinks", thinks_by_default(self.source, self._probe))
            object.__setattr__(self, "_takes_objects", takes_objects(self.source, self._render_calls))
            object.__setattr__(self, "_quirks", quirks_of(self.source))

    def _renders_system(self) -> bool:
        """Whether the template takes system messages; some raise an exception on them."""
        user = {"role": "user", "content": "test"}
        try:
            self._render_jinja([{"role": "system", "content": "test"}, user], True, None, {}, None)
        except TemplateError as refusal:
            try:
                self._render_jinja([user], True, None, {}, None)
            except TemplateError:
                return True  # it is broken in general; `check` says how
            return "ystem" not in str(refusal)
        return True

    def _probe(self, add_generation_prompt: bool, thinking: bool) -> str:
        user = [{"role": "user", "content": "test"}]
        return self._render_jinja(user, add_generation_prompt, None, {"enable_thinking": thinking}, None)

    def _render_calls(self, messages: list[Message]) -> str:
        parameters = {"type": "object", "properties": {"key": {"type": "string", "description": "test"}}}
        function = {"name": "test", "description": "test", "parameters": {**parameters, "required": ["key"]}}
        return self._render_jinja(messages, True, [{"type": "function", "function": function}], {}, None)

    @property
    def tool_format(self) -> ToolFormat:
        """How models with this template call tools and think. Built-in formats tell nothing of that."""
        return format_of("" if self._builtin is not None else self.source)

    def check(self) -> None:
        """Renders a short chat, so that a broken template is found when the model is loaded."""
        self.render([{"role": "user", "content": "test"}])

    def capabilities(self) -> dict[str, bool]:
        """What the template supports, by llama-server's names; takes milliseconds."""

        def render(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], kwargs: Mapping[str, Any]) -> str:
            if self._builtin is not None:
                return render_builtin(self._builtin, messages, True)
            return self._render_jinja(messages, True, tools, dict(kwargs), None)

        return capabilities(render)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> str:
        """The text of the prompt. Raises TemplateError with the template's own message."""
        if self._builtin is not None:
            return render_builtin(self._builtin, messages, add_generation_prompt)
        try:
            messages = apply_quirks(self._quirks, fit_arguments(messages, self._takes_objects))
        except MessageError as error:
            raise TemplateError(str(error), error.param) from error
        if not self._takes_system:
            messages = merge_system(messages)
        text = self._render_jinja(messages, add_generation_prompt, tools, dict(kwargs or {}), now)
        # The tokenizer adds BOS itself.
        return text.removeprefix(self.bos) if self.bos else text

    def _render_jinja(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        kwargs: dict[str, Any],
        now: datetime | None,
    ) -> str:
        assert self._compiled is not None
        environment = self._compiled.environment
        assert isinstance(environment, Sandbox)
        environment.budget.begin()
        now = now or datetime.now()
        inputs = variables(kwargs, self._thinks, now)
        inputs.update(
            messages=list(messages),
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos,
            eos_token=self.eos,
            strftime_now=strftime_at(now),
        )
        if tools:
            inputs["tools"] = list(tools)
        parts: list[str] = []
        size = 0
        try:
            for part in self._compiled.generate(inputs):
                size += len(part)
                if size > MAX_CHARS:
                    raise TemplateError(f"the chat template makes more than {MAX_CHARS} characters")
                parts.append(part)
        except TemplateError:
            raise
        except RecursionError as error:
            raise TemplateError("the chat template nests too deeply") from error
        except Exception as error:  # a template is foreign code: whatever it raises is its fault
            raise TemplateError(f"the chat template cannot be rendered: {_describe(error)}") from error
        return "".join(parts)


def render_prompt(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
    prefill: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> str:
    """A prompt whose last message, if it is the assistant's, is left open to be continued.

    Without `prefill` only `continue_final` does that. Raises TemplateError.
    """
    ends_open = continue_final or (prefill and add_generation_prompt)
    if not (ends_open and messages and messages[-1].get("role") == "assistant"):
        return template.render(messages, add_generation_prompt=add_generation_prompt, tools=tools, kwargs=kwargs)
    if len(messages) > 1 and messages[-2].get("role") == "assistant":
        raise TemplateError("the last two messages are both the assistant's; the last one alone can be continued")
    opened = template.render(messages[:-1], add_generation_prompt=True, tools=tools, kwargs=kwargs)
    return opened + str(messages[-1].get("content") or "")


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """System messages put in front of the user message that follows, as plain text."""
    merged: list[Message] = []
    pending = ""
    for message in messages:
        if message["role"] in ("system", "developer"):
            pending += f"{message['content']}\n"
        elif pending and message["role"] == "user":
            merged.append({**message, "content": pending + str(message["content"])})
            pending = ""
        else:
            merged.append(message)
    if pending:
        merged.append({"role": "user", "content": pending.removesuffix("\n")})
    return merged


def check_kwargs(kwargs: Mapping[str, Any], allowed: frozenset[str] = ALLOWED_KWARGS) -> None:
    """Raises TemplateError for names that a request may not pass."""
    for name in kwargs:
        if name not in allowed:
            message = f"{str(name)[:60]!r} is not allowed; allowed: {', '.join(sorted(allowed))}"
            raise TemplateError(f"chat_template_kwargs: {message}", "chat_template_kwargs")


def _describe(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return error.msg  # its line is one of what the parser makes of the template
    text = str(error) or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"{text[:300]} (line {line})" if line else text[:300]
