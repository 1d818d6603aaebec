"""Grammars that start within an answer, thoughts that are closed, special tokens that are seen."""

from __future__ import annotations

import json
import re
import select
from collections.abc import Iterator

import jsonschema
import pytest

from rustllm._rustllm import Engine, Grammar, InvalidRequestError, SamplingParams, Watch
from tests.engine.test_invariance import SMOLLM2, needs_smollm2

pytestmark = needs_smollm2

PROMPT = "<|im_start|>user\nWhat is the weather?<|im_end|>\n<|im_start|>assistant\n"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 10}, "days": {"enum": [1, 2]}},
    "required": ["city", "days"],
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    loaded = Engine.load(SMOLLM2, n_ctx=2048, n_parallel=1)
    yield loaded
    loaded.shutdown()


def compiled(engine: Engine, lark: str) -> Grammar:
    return engine.compile_syntax(lark, [("args", json.dumps(SCHEMA), "tools", False)], param="tools")


def answer(
    engine: Engine, prompt: str, params: SamplingParams, grammar: Grammar | None = None, watch: Watch | None = None
) -> str:
    engine.submit(engine.tokenizer.encode(prompt, parse_special=True), params, grammar, watch)
    text = ""
    while True:
        select.select([engine.fileno()], [], [], 60)
        for output in engine.drain():
            assert output.error is None
            text += output.text
            if output.kind == "done":
                return text


@pytest.mark.parametrize("seed", range(6))
def test_a_grammar_starts_behind_its_marker(engine: Engine, seed: int) -> None:
    grammar = compiled(engine, 'start: " <call>" @args')
    watch = Watch("at_marker", markers=[(["the"], False)])
    params = SamplingParams(temperature=1.0, seed=seed, n_predict=300)
    text = answer(engine, PROMPT, params, grammar, watch)
    before, marker, after = text.partition("the <call>")
    assert marker, text
    # Where something else follows it, as in "they", the marker is text.
    assert "the <" not in before
    jsonschema.validate(json.loads(after), SCHEMA)


def test_a_marker_within_a_thought_is_none(engine: Engine) -> None:
    grammar = compiled(engine, 'start: " <call>" @args')
    thought = ("<think>", "</think>")
    watch = Watch("at_marker", markers=[(["the"], False)], thought=thought, begun=True, budget=40)
    params = SamplingParams(temperature=0, n_predict=200)
    free = answer(engine, f"{PROMPT}<think>", SamplingParams(temperature=0, n_predict=40))
    assert " the " in free
    text = answer(engine, f"{PROMPT}<think>", params, grammar, watch)
    inside, close, rest = text.partition("</think>")
    assert close
    assert free.startswith(inside)
    assert " the " in inside
    jsonschema.validate(json.loads(rest.partition("the <call>")[2]), SCHEMA)


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_thought_is_closed_after_its_budget(engine: Engine, budget: int) -> None:
    watch = Watch(thought=("<think>", "</think>"), begun=True, budget=budget)
    params = SamplingParams(temperature=0, n_predict=30)
    inside, close, rest = answer(engine, f"{PROMPT}<think>", params, None, watch).partition("</think>")
    assert close
    assert len(engine.tokenizer.encode(inside, add_special=False)) == budget
    assert rest


def test_a_message_is_written_before_the_end_of_a_thought_that_is_closed(engine: Engine) -> None:
    params = SamplingParams(temperature=0, n_predict=30)
    thought = ("<think>", "</think>")
    plain = Watch(thought=thought, begun=True, budget=4)
    watch = Watch(thought=thought, begun=True, budget=4, budget_message=" Time is up.\n")
    text = answer(engine, f"{PROMPT}<think>", params, None, watch)
    inside = answer(engine, f"{PROMPT}<think>", params, None, plain).partition("</think>")[0]
    assert text.startswith(f"{inside} Time is up.\n</think>")


def test_a_gbnf_grammar_can_start_after_the_thought(engine: Engine) -> None:
    grammar = engine.compile_grammar("gbnf", 'root ::= "yes" | "no"', param="grammar")
    watch = Watch("after_thought", thought=("<think>", "</think>"), begun=True, budget=5)
    text = answer(engine, f"{PROMPT}<think>", SamplingParams(temperature=1.0, seed=1, n_predict=60), grammar, watch)
    assert re.fullmatch(r".+</think>\s?(yes|no)", text, re.DOTALL)


def test_special_tokens_are_seen_where_that_is_asked_for(engine: Engine) -> None:
    [special] = engine.tokenizer.encode("<|im_start|>", add_special=False, parse_special=True)
    grammar = compiled(engine, f'start: "a" <[{special}]> "b"')
    hidden = answer(engine, PROMPT, SamplingParams(n_predict=10), grammar)
    seen = answer(engine, PROMPT, SamplingParams(n_predict=10, preserved_tokens=[special]), grammar)
    assert (hidden, seen) == ("ab", "a<|im_start|>b")
    out_of_range = SamplingParams(preserved_tokens=[engine.tokenizer.vocab_size])
    with pytest.raises(InvalidRequestError, match="preserved_tokens"):
        engine.submit([1], out_of_range)


def test_bad_watches_are_refused() -> None:
    with pytest.raises(ValueError, match='start: "later" is unknown'):
        Watch("later")
    with pytest.raises(InvalidRequestError, match="after_thought needs a thought"):
        Watch("after_thought")
