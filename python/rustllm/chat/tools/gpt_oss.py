"""GPT-OSS: the harmony format, an answer in messages of three channels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import Start
from rustllm.chat.syntax.calls import Marker
from rustllm.chat.syntax.lark import Lark
from rustllm.chat.syntax.reader import Steps
from rustllm.chat.syntax.turn import Turn
from rustllm.chat.tool import Tools
from rustllm.chat.tools.descriptor import ToolFormat

_CHANNEL, _MESSAGE, _START, _CONSTRAIN = "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_NEXT = f"{_START}assistant"
_TO = "to=functions."
_NAME = r"to=functions\.(?P<name{}>[A-Za-z0-9_.:/-]+?)"
#: What may stand before a message: a recipient on either side of the channel, and a type. Blanks belong to what stands
#: before them, so that there is one way only to read a row of them.
_HEADER = re.compile(
    rf"\s*({_NAME.format(1)}\s*)?(<\|channel\|>\s*(?P<channel>analysis|commentary|final)\s*)?"
    rf"({_NAME.format(2)}\s*)?(<\|channel\|>\s*commentary\s*)?(<\|constrain\|>\s*)?(json\s*)?"
)
_ANALYSIS = Thought(f"{_CHANNEL}analysis{_MESSAGE}", "<|end|>", then=_NEXT)
#: Characters of what stands before a message.
_MAX_HEADER = 512


@dataclass(frozen=True)
class HarmonyAnswer:
    """`<|channel|>analysis<|message|>…<|end|>` is a thought, a recipient makes a call."""

    thought: Thought | None = _ANALYSIS
    tokens: tuple[str, ...] = (_CHANNEL, _MESSAGE, _START, _CONSTRAIN, *_ENDS)

    frames_text: bool = True

    def opens_in(self, prompt: str) -> bool:
        """Prompts end with the role."""
        return False

    def triggers(self) -> list[Marker]:
        """The recipient, on either side of the channel."""
        return [((f"{_CHANNEL}commentary", _TO), False), ((_NEXT, _TO), False), ((_TO,), True)]

    def lark_calls(self, lark: Lark, tools: Tools, start: Start) -> str:
        """One call: a message with a recipient ends the turn."""
        header = lark.text(f" {_CONSTRAIN}json{_MESSAGE}")
        return f"{lark.text(f'{_CHANNEL}commentary {_TO}')} {self._named(lark, tools, header)}"

    def lark_triggered(self, lark: Lark, tools: Tools) -> str:
        """The name, what else may be in the header, the arguments."""
        header = lark.rule(
            f'({lark.text(f"{_CHANNEL}commentary")})? " "? ({lark.text(_CONSTRAIN)})? "json"? {lark.text(_MESSAGE)}'
        )
        return self._named(lark, tools, header)

    @staticmethod
    def _named(lark: Lark, tools: Tools, header: str) -> str:
        calls = [
            f"{lark.text(tool.name)} {header} {lark.schema(tool.parameters, tool.place, tool.strict)}"
            for tool in tools.tools.values()
        ]
        return lark.one_of(calls)

    def lark_text(self, lark: Lark, text: str, start: Start) -> str:
        """The message of the channel that users see."""
        return f"{lark.text(f'{_CHANNEL}final')} {lark.text(_MESSAGE)} {text}"

    def read(self, turn: Turn, start: Start) -> Steps[None]:
        """Reads message by message; what has no header is content."""
        reader = turn.reader
        begun = start.begun
        while not reader.is_ended:
            if begun:
                yield from self._read_text(turn, "analysis", start)
                begun = False
                continue
            place = reader.attempt()
            yield from reader.take(_NEXT)
            header = yield from self._header(turn)
            reader.settle(place, back=header is None)
            if header is None:
                found = yield from reader.until((_CHANNEL, _START), turn.content)
                if found is not None:
                    yield from self._unread(turn, (_CHANNEL, _START)[found])
                continue
            name, channel = header
            if name is not None:
                turn.begin_call(name)
                if (yield from reader.json(turn.arguments)):
                    place = reader.attempt()
                    yield from reader.space()
                    ended = (yield from reader.take_any(_ENDS)) is not None or reader.is_ended
                    reader.settle(place, back=not ended)
                continue
            yield from self._read_text(turn, channel, start)

    def _header(self, turn: Turn) -> Steps[tuple[str | None, str] | None]:
        """The tool called and the channel, from what stands before a message, if it is a header."""
        header = ""
        while True:
            found = yield from turn.reader.take_any((_MESSAGE, *_ENDS, _NEXT))
            if found is not None:
                match = _HEADER.fullmatch(header) if found == 0 and header.strip() else None
                if match is None:
                    return None
                name = match["name1"] or match["name2"]
                if name is None:
                    return None, match["channel"] or ""
                called = name in turn.tools and (yield from _object_follows(turn))
                return (name, "") if called else None
            char = yield from turn.reader.peek()
            if not char or len(header) == _MAX_HEADER or (not header.strip() and char not in " \n<t"):
                return None
            header += yield from turn.reader.chars(char, 1)
            text = header.strip()
            if not (_CHANNEL.startswith(text[: len(_CHANNEL)]) or _TO.startswith(text[: len(_TO)])):
                return None

    def _read_text(self, turn: Turn, channel: str, start: Start) -> Steps[None]:
        hidden = channel == "analysis" and not start.raw_thoughts
        yield from turn.reader.until((*_ENDS, _NEXT), turn.reasoning if hidden else turn.content)

    def _unread(self, turn: Turn, marker: str) -> Steps[None]:
        """A marker within other text: a header behind it counts, else it is text."""
        place = turn.reader.attempt()
        turn.reader.settle(place - len(marker), back=True)
        place = turn.reader.attempt()
        yield from turn.reader.take(_NEXT)
        header = yield from self._header(turn)
        turn.reader.settle(place, back=True)
        if header is None:
            yield from turn.reader.take(marker)
            turn.content(marker)


def _object_follows(turn: Turn) -> Steps[bool]:
    place = turn.reader.attempt()
    yield from turn.reader.space()
    char = yield from turn.reader.peek()
    turn.reader.settle(place, back=True)
    return char == "{"


GPT_OSS = ToolFormat(name="GPT-OSS", signs=((_CHANNEL, _MESSAGE),), answer=HarmonyAnswer())
