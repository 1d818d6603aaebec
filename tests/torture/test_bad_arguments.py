"""The classes of bad input through the Python API: an exception that names the argument, in time, and the next good
call gives the same bits as before."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rustllm import LLM, SamplingParams
from tests.support.attack import GROWTH_BYTES, repeated, resident_bytes
from tests.support.strategies import NUMBERS_OUT_OF_RANGE
from tests.torture.conftest import Report

#: What the API raises for its caller's mistakes; all errors of its own are ValueErrors.
REFUSED = (ValueError, TypeError, OverflowError)

USER = {"role": "user", "content": "Hey"}
SHORT = SamplingParams(max_tokens=4, temperature=0)
GOOD = SamplingParams(max_tokens=12, temperature=0, logprobs=3)


@dataclass(frozen=True)
class Call:
    """One bad call of a class."""

    kind: str
    text: str
    call: Callable[[LLM], Any]
    #: Words of the message.
    says: str = ""
    #: Legal, so that it may be served if the work for it is bounded.
    bounded: bool = False

    @property
    def id(self) -> str:
        """As the test is called."""
        return f"{self.kind}: {self.text}"[:100].replace("\n", " ")


def sampled(kind: str, text: str, bounded: bool = False, **params: Any) -> Call:
    """A text continued with such parameters, the last of which is at fault."""
    says = "" if bounded else list(params)[-1]
    return Call(
        kind, text, lambda llm: llm.generate("Once", SamplingParams(**{"max_tokens": 4, **params})), says, bounded
    )


def shown(value: object) -> str:
    text = repr(value).partition(" at 0x")[0]
    return text if len(text) < 40 else f"{text[:30]}…"


#: The fields that are named otherwise here, or that are no arguments of the API.
_RENAMED = {"n_predict": "max_tokens", "n_probs": "logprobs"}
_ABSENT = {"id_slot", "n_keep", "n_discard"}
_STRING = {"type": "string"}

TYPES = [
    *(sampled("wrong types", f"{name}: {shown(value)}", **{name: value})
      for name in ("max_tokens", "n", "seed", "top_k", "temperature", "top_p", "min_p", "repeat_penalty", "logprobs",
                   "mirostat", "min_tokens")
      for value in ("5", [], {}, object())),
    *(sampled("wrong types", f"{name}: {shown(value)}", **{name: value})
      for name in ("stop", "logit_bias", "samplers", "grammar", "regex", "choice") for value in (5, 1.5, [1], object())
      if not (name == "logit_bias" and value == object())),
    *(Call("wrong types", f"a prompt: {shown(value)}", lambda llm, value=value: llm.generate(value, SHORT))
      for value in (5, None, 1.5, True, {}, [None], [1.5], [True], [[[1]]], [{}], b"bytes", object())),
    *(Call("wrong types", f"messages: {shown(value)}", lambda llm, value=value: llm.chat(value, SHORT))
      for value in ("hi", 5, None, [], [5], [None], [{}], [{"role": "pirate", "content": "x"}], [{"role": "user"}],
                    [{"role": "user", "content": 5}], [{"role": "user", "content": [{"type": "smell"}]}])),
    *(Call("wrong types", f"a text to embed: {shown(value)}", lambda llm, value=value: llm.embed(value))
      for value in (5, None, 1.5, True, {}, [None], [True])),
    *(Call("wrong types", f"tools: {shown(value)}", lambda llm, value=value: llm.chat([USER], SHORT, tools=value))
      for value in (5, "x", [1], [{"type": "function"}], [{"type": "function", "function": {}}])),
]  # fmt: skip

RANGES = [
    *(sampled("numbers out of range", f"{name}: {value:g}", **{_RENAMED.get(name, name): value})
      for name, value in NUMBERS_OUT_OF_RANGE if name not in _ABSENT and (name, value) != ("max_tokens", -2)),
    *(sampled("numbers out of range", f"{name}: {shown(value)}", **{name: value})
      for name, value in [
          ("seed", 2**64), ("seed", -2), ("top_p", -0.1), ("min_p", 2), ("repeat_penalty", 1e30), ("n", 0),
          ("temperature", float("nan")), ("top_p", float("inf")), ("temperature", float("inf")), ("mirostat", 3),
          ("logit_bias", {-1: 1}), ("logit_bias", {512: 1}), ("stop_token_ids", [512]), ("stop_token_ids", [-1]),
      ] if (name, value) != ("top_p", float("inf"))),
    *(Call("numbers out of range", f"tokens: {shown(value)}", lambda llm, value=value: llm.generate([value], SHORT))
      for value in ([-1], [512], [2**31], [2**70])),
    Call("numbers out of range", "detokenize: 512", lambda llm: llm.detokenize([512]), "512"),
    Call("numbers out of range", "detokenize: -1", lambda llm: llm.detokenize([-1])),
    Call("numbers out of range", "dimensions: 0", lambda llm: llm.embed("x", dimensions=0), "dimensions"),
    Call("numbers out of range", "normalize: -2", lambda llm: llm.embed("x", normalize=-2)),
]  # fmt: skip

AMOUNTS = [
    sampled("fan-out", "n: 1e9", n=10**9),
    sampled("list bombs", "500,000 stop strings", stop=["x"] * 500_000),
    sampled("list bombs", "a stop string of 1 MB", stop="x" * 1_000_000),
    sampled("list bombs", "500,000 biases", logit_bias={i: 1.0 for i in range(500_000)}),
    sampled("list bombs", "500,000 samplers", samplers=["top_k"] * 500_000),
    sampled("list bombs", "500,000 choices", choice=["x"] * 500_000),
    Call("list bombs", "100,000 tools", lambda llm: llm.chat(
        [USER], SHORT, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}] * 100_000), "tools"),
    sampled("logprob memory", "logprobs: 1e6", logprobs=10**6),
    sampled("logprob memory", "logprobs: a vocabulary a hundred thousand times", logprobs=512 * 100_000),
]  # fmt: skip

LETTERS = "".join(chr(97 + i * i % 26) + chr(97 + i * 7 % 25) for i in range(5000)) * 1000
PROMPTS = [
    Call("prompt", "no tokens", lambda llm: llm.generate([[]], SHORT)),
    Call("prompt", "longer than the context", lambda llm: llm.generate("a b " * 2000, SHORT), "512"),
    Call("prompt", "one token longer", lambda llm: llm.generate([[5] * 513], SHORT), "513"),
    Call("prompt", "10 MB of one letter", lambda llm: llm.generate("a" * 10_000_000, SHORT), "512"),
    Call("prompt", "10 MB without spaces", lambda llm: llm.generate(LETTERS, SHORT), "512"),
    Call("prompt", "a chat of 10 MB", lambda llm: llm.chat([{"role": "user", "content": LETTERS}], SHORT), "512"),
    Call("prompt", "10 MB to embed", lambda llm: llm.embed("a" * 10_000_000)),
    Call("encoding", "a lone surrogate", lambda llm: llm.generate("\ud800", SHORT)),
    Call("encoding", "a surrogate in a chat", lambda llm: llm.chat([{"role": "user", "content": "\ud800"}], SHORT)),
    Call("encoding", "a surrogate to embed", lambda llm: llm.embed("\ud800")),
    Call("encoding", "a surrogate to tokenize", lambda llm: llm.tokenize("\ud800")),
    sampled("encoding", "a surrogate in a stop", stop="\ud800"),
    Call("encoding", "NUL", lambda llm: llm.generate("a\0b", SHORT), bounded=True),
]

_DEEP: Any = {}
for _ in range(5000):
    _DEEP = {"not": _DEEP}

CONSTRAINTS = [
    sampled("regex", "(a+)+$", bounded=True, regex="(a+)+$"),
    sampled("regex", "look-behind", regex="(?<=x)y"),
    sampled("regex", "an open bracket", regex="("),
    sampled("regex", "100,000 alternatives", regex="|".join(["ab"] * 100_000)),
    sampled("deep JSON", "a 5,000-deep schema", json_schema=_DEEP),
    *(sampled("schema", text, json_schema=schema) for text, schema in [
        ("a type that is a number", {"type": 123}), ("an unknown type", {"type": "hiccup"}),
        ("a $ref to itself", {"$ref": "#"}), ("a remote $ref", {"$ref": "http://127.0.0.1:9/x"}),
        ("minItems: 1e9", {"type": "array", "minItems": 10**9}), ("maxLength: 1e9", {**_STRING, "maxLength": 10**9}),
        ("unsatisfiable", {"type": "integer", "minimum": 3, "maximum": 1}),
        ("10,000 properties", {"properties": {f"p{i}": _STRING for i in range(10_000)}}),
        ("no JSON", "{"), ("a number", "123"), ("NaN in it", {"minimum": float("nan")}),
        ("something that is no JSON", {"enum": [object()]}),
    ]),
    *(sampled("grammar", text, grammar=grammar) for text, grammar in [
        ("60,000 (", "root ::= " + "(" * 60_000), ("left recursion", 'root ::= root "x" | "x"'),
        ("missing root", 'a ::= "x"'), ("an undefined rule", "root ::= missing"), ("{3,2}", 'root ::= "a"{3,2}'),
        ("{1,1000000000}", 'root ::= "a"{1,1000000000}'), ("an unterminated string", 'root ::= "a'),
    ]),
    sampled("grammar", "exponentially ambiguous", bounded=True,
            grammar='root ::= ("a" | "a" | a)*\na ::= "a"? "a"? "a"? "a"? "a"? "a"? "a"?'),
    Call("template", "a keyword that shadows a name",
         lambda llm: llm.chat([USER], SHORT, chat_template_kwargs={"messages": 1}), "messages"),
]  # fmt: skip

CALLS = [*TYPES, *RANGES, *AMOUNTS, *PROMPTS, *CONSTRAINTS]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(n_parallel=2) as model:
        # What is there by now is not looked at again whenever memory is measured.
        gc.freeze()
        yield model
    gc.unfreeze()


@pytest.fixture(scope="module")
def good(llm: LLM) -> str:
    return bits(llm)


def bits(llm: LLM) -> str:
    """What must be the same each time."""
    [out] = llm.generate("Once upon a time", GOOD, use_tqdm=False)
    return repr((out.text, out.token_ids, out.logprobs))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_call(llm: LLM, good: str, call: Call, report: Report) -> None:
    tries, growth = repeated(lambda: attempt(llm, call), resident_bytes_here)
    assert bits(llm) == good
    assert llm._loaded.dispatcher.active == 0
    report.add(f"Python API, {call.kind}", tries, growth=growth)
    assert growth <= GROWTH_BYTES, f"{growth} bytes more after {tries} tries"


def resident_bytes_here() -> int:
    """Memory of this process, without what only waits to be collected."""
    gc.collect()
    return resident_bytes("self")


def attempt(llm: LLM, call: Call) -> None:
    """One bad call, which must be refused; one that comes late is tried again, since the machine may be busy."""
    for _ in range(3):
        started = time.monotonic()
        error = refusal(llm, call)
        took = time.monotonic() - started
        if error is None:
            assert call.bounded, "it was served"
        else:
            assert call.says in str(error) or call.says == getattr(error, "param", None), error
        if took < 1.0:
            return
    pytest.fail("it took more than a second, three times")


def refusal(llm: LLM, call: Call) -> Exception | None:
    """What a call raises of what it may raise."""
    try:
        call.call(llm)
    except REFUSED as error:
        # Its traceback would lead back to the caller, whose variable it becomes: a circle that holds the bad input.
        return error.with_traceback(None)
    return None
