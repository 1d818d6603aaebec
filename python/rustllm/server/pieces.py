"""A chat's answer as a stream of pieces, for APIs that put them into shapes of their own.

An API says how its request becomes the fields of a `ChatRequest`, gets the job from `translated_job`, whose
errors name the API's own fields, and gets one `Started`, the events of the answer, one `Ended`: at once
from `whole`, or by `Pieces` from the outputs of a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_core import from_json

from rustllm._rustllm import Output, Timings
from rustllm.chat.syntax.events import CallStart, Content, Event
from rustllm.choice import Choice
from rustllm.measures import size
from rustllm.server.generation import Job, collect
from rustllm.server.native.completion.service import tokenize_prompt
from rustllm.server.openai.chat.prompt import chat_prompt
from rustllm.server.openai.chat.schemas import ChatRequest
from rustllm.server.openai.chat.service import chat_job
from rustllm.server.parts import FromClient
from rustllm.server.renamed import Names, renamed
from rustllm.server.state import INLINE_CHARS, Model, ServerState


@dataclass(frozen=True)
class Started:
    """The engine has begun to answer."""

    timings: Timings | None


@dataclass(frozen=True)
class Ended:
    """The answer is complete."""

    choice: Choice
    has_calls: bool

    @property
    def stop_type(self) -> str:
        """Why: `eos`, `word` or `limit`."""
        return "limit" if self.choice.finish is None else self.choice.finish.stop_type

    @property
    def stopping_word(self) -> str | None:
        """The stop string that ended it."""
        finish = self.choice.finish
        return finish.stopping_word if finish is not None and finish.stop_type == "word" else None


Piece = Started | Event | Ended

Request = TypeVar("Request", bound=FromClient)
#: Makes the fields of a chat request. Raises ApiError.
Translation = Callable[[Request], dict[str, Any]]


async def translated_job(
    state: ServerState, model: Model, request: Request, make: Translation[Request], names: Names
) -> Job:
    """The job of another API's request, of which `make` makes the fields of a chat request; errors name that API's
    fields."""
    chat = await _translated(state, request, make, names)
    with renamed(names):
        return await chat_job(state, model, chat)


async def count_tokens(
    state: ServerState, model: Model, request: Request, make: Translation[Request], names: Names
) -> int:
    """Tokens of the prompt of such a request."""
    chat = await _translated(state, request, make, names)
    with renamed(names):
        prompt = await chat_prompt(state, model, chat)
    return len(await state.off_loop(len(prompt), lambda: tokenize_prompt(model, prompt)))


async def _translated(state: ServerState, request: Request, make: Translation[Request], names: Names) -> ChatRequest:
    def work() -> ChatRequest:
        given = {name: value for name, value in make(request).items() if value is not None}
        with renamed(names):
            # A turn of other APIs can become several messages.
            state.settings.limits.check(given, {"messages": ("messages",)})
            return ChatRequest.model_validate(given)

    return await state.off_loop(size(request, INLINE_CHARS), work)


class Pieces:
    """Reads the one answer of a job while its outputs arrive."""

    def __init__(self, job: Job, *, keeps_probs: bool = False) -> None:
        """`keeps_probs`: the end is to have the probabilities of all tokens."""
        self.choice = Choice(0, keeps_probs=keeps_probs and job.n_probs > 0)
        self._n_probs, self._kept = job.n_probs, job.kept
        self._reader = None if job.plan is None else job.plan.reader()
        self._has_calls = False
        self._is_started = False

    def take(self, output: Output) -> list[Piece]:
        """The pieces of an output."""
        if self._kept is not None and self.choice.keeps_probs:
            self._kept.take(output, self._n_probs)
        self.choice.take(output)
        if output.progress is not None:
            return []
        pieces: list[Piece] = [] if self._is_started else [Started(output.timings)]
        self._is_started = True
        for event in self._events(output):
            self._has_calls = self._has_calls or isinstance(event, CallStart)
            pieces.append(event)
        if output.is_last:
            pieces.append(Ended(self.choice, self._has_calls))
        return pieces

    def _events(self, output: Output) -> list[Event]:
        if self._reader is None:
            return [Content(output.text)] if output.text else []
        events = self._reader.push(output.text) if output.text else []
        return events + self._reader.end() if output.is_last else events


async def whole(state: ServerState, model: Model, job: Job) -> list[Piece]:
    """The pieces of a whole answer. Being cancelled aborts it."""
    (choice,) = await collect(state, model, job)
    events: list[Piece] = []
    if job.plan is None:
        events = [Content(choice.text)] if choice.text else []
    else:
        reader, text = job.plan.reader(), choice.text
        events = await state.off_loop(len(text), lambda: [*reader.push(text), *reader.end()])
    has_calls = any(isinstance(event, CallStart) for event in events)
    return [Started(choice.timings), *events, Ended(choice, has_calls)]


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call as an object; of a call that a limit cut off, what is there of it."""
    try:
        value = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
