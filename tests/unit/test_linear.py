"""Work on a request's text grows with its length, not with its square: `re` keeps the interpreter's lock meanwhile, so
a search that goes back again and again stops the whole process."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rustllm
from rustllm.chat.plan import make_plan
from rustllm.chat.syntax import patterns
from rustllm.chat.tools.gpt_oss import GPT_OSS
from rustllm.invalid import shown
from rustllm.measures import all_text_bytes, grammar_depth, place_of_bracket, size
from rustllm.server.ollama.chat import chat_fields
from rustllm.server.ollama.schemas import ChatRequest
from tests.support.answers import tools

#: Characters of a text, and the most seconds that a search in it may take. A search that is linear takes less than a
#: tenth of it on a busy machine, one that is quadratic several times as much; the short one finds what is worse yet
#: before it takes hours.
STEPS = ((48, 0.002), (1500, 0.008))
UNITS = (" ", "a", "A", "0", "_", "-", ".", "/", ",", ":", "\\", "\\a", "[", '"', "(", "<", "{", "\n", "é", '"a', "[a")
ENDS = ("", "\\", "\0")


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(rustllm.__path__, "rustllm."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


MODULES = list(modules())
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in Path(rustllm.__path__[0]).rglob("*.py"))
#: All patterns of the package, once each.
PATTERNS = {
    value: f"{module.__name__}.{name}"
    for module in reversed(MODULES)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


def uses(pattern: re.Pattern[Any]) -> list[Callable[[Any], Any]]:
    """How it is used: on texts from their beginning on, or to be found anywhere in them."""
    name = PATTERNS[pattern].rpartition(".")[2]
    anywhere = re.search(rf"\b{name}\.(findall|finditer|search|split|sub)\(", SOURCE)
    return [pattern.fullmatch, *([pattern.findall] if anywhere else [])]


def begins(pattern: re.Pattern[Any]) -> list[str]:
    """What may bring a search into the middle of the pattern: its own words, alone and in pairs."""
    source = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    words = list(dict.fromkeys(word.replace("\\", "") for word in re.findall(r"(?:[A-Za-z<>=]|\\[.|<>\[\]])+", source)))
    return ["", *words[:6], *map("".join, itertools.permutations(words[:6], 2))]


def seconds(work: Callable[[], Any], enough: float) -> float:
    """How long it takes; of what takes too long, the shortest of five."""
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
        if best < enough:
            break
    return best


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: PATTERNS[pattern])
def test_each_pattern_is_linear(pattern: re.Pattern[Any]) -> None:
    ways = uses(pattern)
    for n, most in STEPS:
        for begin, unit, end in itertools.product(begins(pattern), UNITS, ENDS):
            text: Any = begin + unit * (n // len(unit)) + end
            if isinstance(pattern.pattern, bytes):
                text = text.encode()
            for use in ways:
                assert seconds(partial(use, text), most) < most, (begin, unit, end, n)


def grammar(text: str) -> Callable[[int], Any]:
    def work(n: int) -> None:
        given = text * n + "\\"
        if (grammar_depth(given, 200) or 0) > 200:
            place_of_bracket(given, 200)

    return work


def header(n: int) -> None:
    """An answer that a client can have the model write, by a grammar."""
    text = f"<|channel|>commentary{' ' * min(n, 480)}x<|message|>"
    reader = make_plan(GPT_OSS, "", tools(), reasoning="deepseek").reader()
    reader.push(text * (n // 480 + 1))
    reader.end()


def results(n: int) -> None:
    """Results of calls that no call is named for."""
    calls = [{"function": {"name": "f"}}] * n
    turns = [{"role": "assistant", "tool_calls": calls}, *[{"role": "tool", "tool_name": "g"}] * n]
    chat_fields(ChatRequest.model_validate({"messages": turns}))


WORK: dict[str, tuple[Callable[[int], Any], int]] = {
    "a grammar of [": (grammar("["), 2000),
    "a grammar of quotation marks": (grammar('"a'), 2000),
    "a grammar of escapes": (grammar('"\\a'), 2000),
    "a grammar of (": (grammar("("), 2000),
    "a pattern of [": (lambda n: patterns.whole("[" * n + "\\"), 240),
    "a header of blanks": (header, 60),
    "results without a call": (results, 500),
    "the size of nested lists": (lambda n: size([[["a"] * 10] * 10] * n, 1 << 40), 100),
    "texts of a list": (lambda n: all_text_bytes(["a" * 10] * n, 0), 1000),
}


@pytest.mark.parametrize("name", WORK)
def test_eight_times_as_much_takes_no_sixty_four_times_as_long(name: str) -> None:
    work, n = WORK[name]
    work(n)
    once = min(seconds(lambda: work(n), 0) for _ in range(3))
    assert seconds(lambda: work(8 * n), 24 * once) < 24 * max(once, 1e-4)


@pytest.mark.parametrize(
    "value", [[1] * 10**6, [[[]] * 10**6], "x" * 10**7, {"a": ["b"] * 10**6}, [{"a": [1] * 10**6}]]
)
def test_the_beginning_of_a_value_costs_no_more_than_it_shows(value: Any) -> None:
    assert seconds(lambda: shown(value), 0.001) < 0.001
    assert shown(value) == repr(value)[:60] + "…"
    assert size(value, 100) > 100
    assert seconds(lambda: size(value, 100), 0.02) < 0.02


@pytest.mark.parametrize("value", [None, True, 5, "x", "it's", [], {}, [1, "a", None], {"a": [1.5, {"b": "c"}]}])
def test_short_values_are_shown_as_python_writes_them(value: Any) -> None:
    assert shown(value) == repr(value)
    assert shown(value, 3) == (repr(value) if len(repr(value)) <= 3 else repr(value)[:3] + "…")
