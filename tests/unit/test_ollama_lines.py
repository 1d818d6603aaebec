"""What Ollama's lines hold of calls."""

from __future__ import annotations

from rustllm.chat.syntax.events import Call, CallArguments, CallStart, Content, Reasoning
from rustllm.server.ollama.joined import Joiner, Line
from rustllm.server.ollama.service import chat_message


def test_calls_come_as_a_whole() -> None:
    joiner = Joiner()
    start = [Reasoning("Hm"), Content("Let me "), Content("see"), CallStart(0, "a", "weather"), CallArguments(0, "{")]
    assert joiner.join(start, ends=False) == Line("Let me see", "Hm", [], 0)
    assert joiner.join([CallArguments(0, '"unit": "C"')], ends=False).is_empty
    second = joiner.join([CallArguments(0, "}"), CallStart(1, "b", "now")], ends=False)
    assert second == Line(calls=[Call("a", "weather", '{"unit": "C"}')])
    last = joiner.join([CallArguments(1, '{"zone": "U')], ends=True)
    assert last == Line(calls=[Call("b", "now", '{"zone": "U')], first_call=1)
    assert chat_message(last)["message"]["tool_calls"] == [
        {"id": "b", "function": {"index": 1, "name": "now", "arguments": {"zone": "U"}}}
    ]
    assert joiner.join([], ends=True).is_empty


def test_text_behind_a_call_ends_it() -> None:
    line = Joiner().join([CallStart(0, "a", "now"), CallArguments(0, "[]"), Content("!")], ends=False)
    assert line == Line("!", calls=[Call("a", "now", "[]")])
    assert chat_message(line)["message"]["tool_calls"][0]["function"]["arguments"] == {}
