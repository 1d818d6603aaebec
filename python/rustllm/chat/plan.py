"""How the answers of one request are constrained and read.

`make_plan` joins what the template, the prompt, the tools and the reasoning settings say. A plan
gives the grammar (`grammar`), what the engine watches for (`watch`), the special tokens that must
be seen (`preserved`), and a reader for each answer (`reader`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rustllm._rustllm import Tokenizer, Watch
from rustllm.chat.reasoning import ReasoningFormat, Thought
from rustllm.chat.syntax.answer import Start
from rustllm.chat.syntax.calls import Marker
from rustllm.chat.syntax.events import Answer, Event
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tools
from rustllm.chat.tools.descriptor import ToolFormat
from rustllm.chat.tools.generic import GENERIC

#: What special tokens look like.
_NAMES = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")


@dataclass(frozen=True)
class Schema:
    """A JSON schema for the answer."""

    schema: Mapping[str, Any]
    #: The request's field, for errors.
    param: str
    strict: bool


@dataclass(frozen=True)
class LarkGrammar:
    """A grammar as `Engine.compile_syntax` takes it."""

    source: str
    schemas: list[tuple[str, str, str, bool]]
    #: Keywords that it does not enforce, besides those that the engine finds in the schemas.
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What `make_plan` found out."""

    format: ToolFormat
    tools: Tools
    start: Start
    reasoning: ReasoningFormat
    #: How a thought that may come, or has begun, is marked.
    thought: Thought | None
    #: Tokens that it may take.
    budget: int | None = None
    #: Whether it may be ended while it is written.
    controlled: bool = False
    #: What is written before its end where it has taken them.
    budget_message: str = ""

    @property
    def reads(self) -> bool:
        """Whether answers can be anything but text."""
        answer = self.format.answer
        thinks = answer.thought is not None and self.reasoning != "none"
        return self.tools.active or thinks or self.start.opened or answer.frames_text

    @property
    def frames(self) -> bool:
        """Whether a schema's answer is a part of the answer only."""
        return self.thought is not None or self.start.opened or self.format.answer.frames_text

    @property
    def _is_free(self) -> bool:
        """Whether text may stand before calls."""
        return self.tools.choice == "auto" and not self.start.opened

    def preserved(self, tokenizer: Tokenizer) -> list[int]:
        """Special tokens that reading needs to see."""
        if not self.reads:
            return []
        names = {name for text in self.format.answer.tokens for name in _NAMES.findall(text)}
        found = (special_token(tokenizer, name) for name in sorted(names))
        return [token for token in found if token is not None]

    def grammar(self, tokenizer: Tokenizer, schema: Schema | None) -> LarkGrammar | None:
        """The grammar of the whole answer, or of what follows a marker; None where any text will do."""
        lark = Lark(lambda text: split(tokenizer, text))
        answer = self.format.answer
        if not self.tools.active:
            if schema is None:
                return None
            start = answer.lark_text(lark, self._schema(lark, schema), self.start)
        elif self.tools.choice == "required":
            start = answer.lark_calls(lark, self.tools, self.start)
        elif schema is not None:
            calls = answer.lark_calls(lark, self.tools, self.start)
            start = lark.one_of([calls, answer.lark_text(lark, self._schema(lark, schema), self.start)])
        elif self._is_free:
            source = lark.source(answer.lark_triggered(lark, self.tools))
            return LarkGrammar(source, lark.schemas, lark.ignored)
        else:
            calls = answer.lark_calls(lark, self.tools, self.start)
            start = lark.one_of([calls, answer.lark_text(lark, "/(?s:.+)/", self.start)])
        return LarkGrammar(lark.source(f"{self._lark_thought(lark)} {start}"), lark.schemas, lark.ignored)

    @staticmethod
    def _schema(lark: Lark, schema: Schema) -> str:
        return lark.schema(schema.schema, schema.param, schema.strict)

    def _lark_thought(self, lark: Lark) -> str:
        """A thought before the rest, if one may come."""
        if self.thought is None:
            return ""
        rest = f"{lark.until(self.thought.close)} /[ \\n]{{1,3}}/? {lark.text(self.thought.then)}"
        if self.start.begun:
            return rest
        return f"{lark.rule(f'{lark.text(self.thought.open)} {rest}')}?"

    def watch(self, *, constrained: bool, gbnf: bool) -> Watch | None:
        """What the engine watches for. `constrained`: a schema holds for all of the answer; `gbnf`: a
        grammar of the request's own does, which knows nothing of thoughts."""
        thought = self.thought
        marks = (thought.open, thought.close) if thought else None

        def watch(start: str, markers: Sequence[Marker] = ()) -> Watch:
            return Watch(
                start,
                markers=markers,
                thought=marks,
                begun=self.start.begun,
                budget=self.budget,
                budget_message=self.budget_message,
            )

        if markers := self.triggers(constrained=constrained):
            return watch("at_marker", markers)
        if gbnf and thought is not None and self.start.begun:
            return watch("after_thought")
        is_limited = self.budget is not None or self.controlled
        return watch("at_once") if thought is not None and is_limited else None

    def triggers(self, *, constrained: bool) -> Sequence[Marker]:
        """Behind which texts the grammar of calls starts; none where it holds from the start or there is none."""
        is_lazy = self.tools.active and self._is_free and not constrained
        return self.format.answer.triggers() if is_lazy else ()

    def reader(self, *, raw_thoughts: bool | None = None) -> AnswerReader:
        """A reader for one answer."""
        raw = self.reasoning == "none" if raw_thoughts is None else raw_thoughts
        return AnswerReader(self, Start(self.start.begun, self.start.opened, raw))


class AnswerReader:
    """Splits one answer into thought, text and calls, while it arrives."""

    def __init__(self, plan: Plan, start: Start) -> None:
        tools = plan.tools.tools if plan.tools.active else {}
        self._turn = Turn(tools, plan.format.new_id)
        self._steps = plan.format.answer.read(self._turn, start)
        self._done = False

    def push(self, text: str) -> list[Event]:
        """The events that a piece of text leads to."""
        self._turn.reader.feed(text)
        self._run()
        return self._turn.drain()

    def end(self) -> list[Event]:
        """The events of what was held back, when no more text comes."""
        self._turn.reader.end()
        self._run()
        return self._turn.drain()

    def read(self, text: str) -> Answer:
        """The whole answer at once."""
        answer = Answer()
        for event in (*self.push(text), *self.end()):
            answer.take(event)
        return answer

    def _run(self) -> None:
        if not self._done:
            self._done = next(self._steps, True) is True


def make_plan(
    format_: ToolFormat,
    prompt: str,
    tools: Tools,
    *,
    reasoning: ReasoningFormat,
    thinks: bool = True,
    budget: int | None = None,
    controlled: bool = False,
    budget_message: str = "",
) -> Plan:
    """The plan for answers to `prompt`. `thinks`: the request leaves thinking on; `budget`: tokens of
    a thought, which ends with `budget_message` where it takes them; `controlled`: it may be ended while
    it is written."""
    thought = format_.answer.thought
    begun = thought is not None and thought.is_open_in(prompt)
    if thought is not None and not begun and (not thinks or thought.is_closed_in(prompt)):
        thought = None
    start = Start(begun=begun, opened=format_.answer.opens_in(prompt))
    return Plan(format_, tools, start, reasoning, thought, budget, controlled, budget_message)


def text_plan() -> Plan:
    """The plan for answers that are text and nothing else, whatever they look like."""
    return Plan(GENERIC, Tools({}, "none"), Start(), "none", None)


def read_answer(plan: Plan | None, text: str) -> Answer:
    """The parts of a whole answer."""
    if plan is None:
        return Answer(content=text)
    answer = plan.reader().read(text)
    if plan.reasoning == "deepseek-legacy":
        answer.content = plan.reader(raw_thoughts=True).read(text).content
    return answer


def special_token(tokenizer: Tokenizer, name: str) -> int | None:
    """The special token of this name, if it is one whose name is no text."""
    ids = tokenizer.encode(name, add_special=False, parse_special=True)
    if len(ids) != 1 or tokenizer.token_bytes(ids[0], special=False):
        return None
    return ids[0] if tokenizer.token_bytes(ids[0], special=True) == name.encode() else None


def split(tokenizer: Tokenizer, text: str) -> list[str | int]:
    """A text as its special tokens and the text between them."""
    parts: list[str | int] = []
    at = 0
    for match in _NAMES.finditer(text):
        token = special_token(tokenizer, match[0])
        if token is not None and not tokenizer.is_eog(token):
            parts += [*([text[at : match.start()]] if match.start() > at else []), token]
            at = match.end()
    return [*parts, text[at:]] if at < len(text) else parts
