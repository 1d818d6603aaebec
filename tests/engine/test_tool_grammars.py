"""Each format's grammar makes calls that its reader reads and that satisfy their schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from rustllm._rustllm import Engine, SamplingParams
from rustllm.chat.plan import Plan, make_plan
from rustllm.chat.tool import Tools, parse_tools
from rustllm.chat.tools import FORMATS
from rustllm.chat.tools.descriptor import ToolFormat
from tests.engine.test_invariance import SMOLLM2, needs_smollm2
from tests.support.engine import answers

pytestmark = needs_smollm2

PROMPT = "<|im_start|>user\nWeather in Rome with all details?<|im_end|>\n<|im_start|>assistant\n"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6, "minLength": 2},
        "days": {"type": "integer", "minimum": 0, "maximum": 10},
        "exact": {"type": "boolean"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "place": {"$ref": "#/$defs/place"},
        "code": {"type": "string", "pattern": r"^[A-Z]{2,3}/\d{1,4}?$", "maxLength": 6},
        "word": {"type": "string", "pattern": r"(rain|snow)\w", "maxLength": 6},
        "day": {"type": "string", "format": "date"},
        "maybe": {"type": ["string", "null"], "maxLength": 3},
    },
    "required": ["city", "exact", "place", "code", "word", "day"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"north": {"type": "boolean"}, "kind": {"enum": [1, 2]}},
            "required": ["north", "kind"],
            "additionalProperties": False,
        }
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "stop"}},
]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


FORMAT_CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER
CHOICES: dict[str, Any] = {"required": "required", "named": NAMED}
#: Answers to each choice in each format; a long run takes more.
SEEDS = int(os.environ.get("RUSTLLM_SCHEMA_SEEDS", "1"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    loaded = Engine.load(SMOLLM2, n_ctx=36 * 2048, n_parallel=36)
    yield loaded
    loaded.shutdown()


def plan_of(form: ToolFormat, choice: Any) -> tuple[Plan, Tools]:
    tools = parse_tools(TOOLS, choice, False)
    return make_plan(form, PROMPT, tools, reasoning="deepseek", thinks=False), tools


@pytest.fixture(scope="module")
def texts(engine: Engine) -> dict[tuple[str, str], list[str]]:
    """Answers in all formats, made at once, since a batch takes a fraction of the time of one after the other."""
    prompt = engine.tokenizer.encode(PROMPT, parse_special=True)
    asked = {}
    for form in FORMATS:
        for name, choice in CHOICES.items():
            params = SamplingParams(temperature=1.5, seed=SEEDS * len(asked), n=SEEDS, n_predict=1500)
            grammar = plan_of(form, choice)[0].grammar(engine.tokenizer, None)
            assert grammar is not None
            compiled = engine.compile_syntax(grammar.source, grammar.schemas, param="tools")
            asked[engine.submit(prompt, params, compiled)] = (form.name, name)
    found = answers(engine, asked, SEEDS)
    return {key: found[request] for request, key in asked.items()}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_forced_calls(texts: dict[tuple[str, str], list[str]], form: ToolFormat, choice: str) -> None:
    plan, tools = plan_of(form, CHOICES[choice])
    for text in texts[form.name, choice]:
        read = plan.reader().read(text)
        assert read.content.strip() == "", text
        assert read.calls, text
        assert len(read.calls) == 1, text
        for call in read.calls:
            schema = tools.tools[call.name].parameters
            jsonschema.validate(json.loads(call.arguments), schema, format_checker=FORMAT_CHECKER)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_calls_behind_a_thought_or_a_marker_compile(engine: Engine, form: ToolFormat) -> None:
    for choice in ("auto", "required"):
        plan = make_plan(form, PROMPT, parse_tools(TOOLS, choice, True), reasoning="deepseek", budget=4)
        grammar = plan.grammar(engine.tokenizer, None)
        assert grammar is not None
        engine.compile_syntax(grammar.source, grammar.schemas, param="tools")
        assert (plan.watch(constrained=choice == "required", gbnf=False) is None) == (
            choice == "required" and plan.thought is None
        )
