"""What `LLM` and `AsyncLLM` ask of the engine: a job is a request that is ready, a batch runs many of them.

`Jobs` makes them of prompts and conversations. `Batch` submits them and puts what comes of each into the hands
of a callable, from the dispatcher's thread; leaving its context aborts what has not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from rustllm._rustllm import Engine, Grammar, InvalidRequestError, Output, Watch
from rustllm._rustllm import SamplingParams as NativeParams
from rustllm.chat import constraint
from rustllm.chat.constraint import Constraint, compile_constraint, the_one
from rustllm.chat.messages import MessageError
from rustllm.chat.plan import Plan
from rustllm.chat.prompt import chat_plan, render_chat
from rustllm.chat.template import ChatTemplate, TemplateError
from rustllm.chat.tool import ToolError
from rustllm.choice import Choice
from rustllm.config import ServerSettings
from rustllm.engine import GenerationError
from rustllm.invalid import invalid
from rustllm.llm.dispatch import Dispatcher
from rustllm.llm.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pydantic import BaseModel

#: A text, or its token ids.
Prompt = str | Sequence[int]

#: Takes the number of a job and what came of it.
Put = Callable[[int, Any], None]


@dataclass(frozen=True)
class Job:
    """A request that is ready for the engine."""

    tokens: list[int]
    native: NativeParams
    params: SamplingParams
    prompt: str | None = None
    grammar: Grammar | None = None
    watch: Watch | None = None
    #: How a chat's answers are read.
    plan: Plan | None = None
    #: Makes a value of the answer's text.
    parse: Callable[[str], Any] | None = None


@dataclass
class ChatOptions:
    """What a chat is told beside its messages; see `LLM.chat`."""

    messages: Any = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: Any = None
    chat_template_kwargs: dict[str, Any] | None = None
    enable_thinking: bool | None = None
    thinking_budget_tokens: int | None = None
    reasoning_effort: str | None = None
    reasoning_control: bool | None = None


@dataclass(frozen=True)
class Format:
    """What a chat's answer must be, and how a value is made of it."""

    constraint: Constraint | None = None
    parse: Callable[[str], Any] | None = None


@dataclass
class Jobs:
    """Makes jobs for a loaded model."""

    native: Engine
    settings: ServerSettings
    template: ChatTemplate
    template_caps: dict[str, bool] = field(default_factory=dict)

    @property
    def lora(self) -> list[tuple[int, float]]:
        """The adapters with their weights."""
        return [(index, scale) for index, (_, scale) in enumerate(self.settings.lora)]

    def of_prompt(self, prompt: Prompt, params: SamplingParams) -> Job:
        """A job that continues a prompt. Raises InvalidRequestError."""
        compiled = compile_constraint(self.native, the_one(_asked(params)), None)
        native = params.native(self.native.tokenizer, lora=self.lora)
        text = prompt if isinstance(prompt, str) else None
        return Job(self.tokens(prompt, "prompt"), native, params, text, compiled.grammar, compiled.watch)

    def of_chat(self, options: ChatOptions, params: SamplingParams, form: Format, reasoning: str | None) -> Job:
        """A job that answers a conversation. Raises InvalidRequestError, MessageError, ToolError, TemplateError."""
        prompt = render_chat(self, self.settings, options)
        plan = chat_plan(self, self.settings, prompt, options, reasoning)
        asked = [*_asked(params), *([] if form.constraint is None else [form.constraint])]
        compiled = compile_constraint(self.native, the_one(asked), plan)
        tokenizer = self.native.tokenizer
        native = params.native(tokenizer, preserved_tokens=plan.preserved(tokenizer), lora=self.lora)
        tokens = tokenizer.encode(prompt, add_special=True, parse_special=True)
        reads = plan if plan.reads else None
        return Job(tokens, native, params, prompt, compiled.grammar, compiled.watch, reads, form.parse)

    def tokens(self, prompt: Prompt, param: str) -> list[int]:
        """Token ids of a prompt, in which special tokens may be written out. Raises InvalidRequestError."""
        tokenizer = self.native.tokenizer
        if isinstance(prompt, str):
            self.native.check_texts([prompt])
            return tokenizer.encode(prompt, add_special=True, parse_special=True)
        if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
            raise invalid(param, f"{prompt!r:.60} is not a prompt; expected a text or a list of token ids")
        for token in prompt:
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < tokenizer.vocab_size:
                allowed = f"0 to {tokenizer.vocab_size - 1}"
                raise invalid(param, f"{token!r:.60} is not a token id; allowed: {allowed}")
        if not prompt:
            raise invalid(param, "it is empty; at least one token is needed")
        return [int(token) for token in prompt]


def _asked(params: SamplingParams) -> list[Constraint]:
    found = []
    if params.grammar is not None:
        found.append(Constraint("gbnf", params.grammar, "grammar"))
    if params.json_schema is not None:
        schema = params.json_schema
        value = schema.model_json_schema() if is_pydantic(schema) else schema
        found.append(constraint.json_schema(value, "json_schema"))
    if params.regex is not None:
        found.append(constraint.regex(params.regex, "regex"))
    if params.choice is not None:
        found.append(constraint.choice(params.choice, "choice"))
    return found


def response_format(form: Any) -> Format:
    """A pydantic model's class, a JSON schema or OpenAI's `response_format`. Raises InvalidRequestError."""
    from json import loads

    if form is None:
        return Format()
    if is_pydantic(form):
        return Format(constraint.json_schema(form.model_json_schema(), "response_format"), form.model_validate_json)
    if not isinstance(form, Mapping):
        allowed = "a pydantic model's class, a JSON schema as a dict, or OpenAI's response_format"
        raise invalid("response_format", f"{form!r:.60} is not a format; allowed: {allowed}")
    if form.get("type") in ("text", "json_object", "json_schema"):
        found = constraint.from_response_format(form)
        return Format(found, None if found is None else loads)
    return Format(constraint.json_schema(dict(form), "response_format"), loads)


def is_pydantic(value: Any) -> TypeGuard[type[BaseModel]]:
    """Whether it is a pydantic model's class; asking does not import pydantic."""
    return isinstance(value, type) and hasattr(value, "model_json_schema") and hasattr(value, "model_validate_json")


def per_job(params: SamplingParams | Sequence[SamplingParams] | None, n: int) -> list[SamplingParams]:
    """Parameters for each of `n` jobs. ValueError where their number differs."""
    if params is None:
        return [SamplingParams()] * n
    if isinstance(params, SamplingParams):
        return [params] * n
    if not isinstance(params, Sequence) or not all(isinstance(one, SamplingParams) for one in params):
        raise TypeError(f"sampling_params: {params!r:.60} is no SamplingParams, nor a list of them")
    if len(params) != n:
        raise ValueError(f"sampling_params: there are {len(params)} for {n} prompts; allowed: one, or one for each")
    return list(params)


def placed(error: Exception, place: str) -> Exception:
    """The error of one of many jobs, which says in front which one it is."""
    if isinstance(error, (InvalidRequestError, MessageError, ToolError, TemplateError)):
        error.args = (f"{place}: {error}",)
    return error


class Batch:
    """Jobs that run together. `put` gets each one's choices once all have ended, or, with `stream`, every
    output; in either case the error that ended it."""

    def __init__(self, dispatcher: Dispatcher, put: Put, *, stream: bool = False) -> None:
        self._dispatcher, self._put, self._stream = dispatcher, put, stream
        self._requests: set[int] = set()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Aborts what has not ended."""
        self._dispatcher.abort(self._requests)
        self._requests.clear()

    def submit(self, number: int, job: Job) -> None:
        """Starts a job. Raises what `Engine.submit` raises."""
        n = job.params.n
        if self._stream:
            to: Callable[[Output], None] = partial(_take_stream, partial(self._put, number))
        else:
            to = _Collector(n, partial(self._put, number)).take
        whole = not self._stream
        request = self._dispatcher.generate(
            job.tokens, job.native, n, to, grammar=job.grammar, watch=job.watch, whole=whole
        )
        self._requests.add(request)

    def embed(
        self,
        texts: Sequence[Sequence[int]],
        normalize: int,
        dimensions: int | None,
        lora: Sequence[tuple[int, float]],
    ) -> None:
        """Starts to embed texts; each is put with its place among them. Raises what `Engine.embed` raises."""

        def take(output: Output) -> None:
            if output.kind == "error":
                self._put(output.index, GenerationError(output.error or "the engine failed"))
            else:
                self._put(output.index, output.vectors)

        self._requests.add(self._dispatcher.embed(texts, normalize, dimensions, lora, take))


def _take_stream(put: Callable[[Any], None], output: Output) -> None:
    put(GenerationError(output.error or "the engine failed") if output.kind == "error" else output)


class _Collector:
    """Collects the choices of a job."""

    def __init__(self, n: int, put: Callable[[Any], None]) -> None:
        self._choices = [Choice(index) for index in range(n)]
        self._left = n
        self._put = put

    def take(self, output: Output) -> None:
        if self._left == 0:
            return
        if output.kind == "error":
            self._left = 0
            self._put(GenerationError(output.error or "the engine failed"))
            return
        self._choices[output.index].take(output)
        if output.is_last:
            self._left -= 1
            if self._left == 0:
                self._put(self._choices)
