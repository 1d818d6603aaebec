"""Each format's grammar makes calls that its reader reads and that satisfy their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from rustllm._rustllm import Engine, SamplingParams
from rustllm.chat.plan import make_plan
from rustllm.chat.tool import parse_tools
from rustllm.chat.tools import FORMATS
from rustllm.chat.tools.descriptor import ToolFormat
from tests.engine.test_invariance import SMOLLM2, needs_smollm2
from tests.engine.test_watch import answer

pytestmark = needs_smollm2

PROMPT = "<|im_start|>user\nWeather in Rome with all details?<|im_end|>\n<|im_start|>assistant\n"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12, "minLength": 2},
        "days": {"type": "integer", "minimum": 0, "maximum": 10},
        "exact": {"type": "boolean"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
        "place": {"$ref": "#/$defs/place"},
        "maybe": {"type": ["string", "null"], "maxLength": 5},
    },
    "required": ["city", "exact", "place"],
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


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    loaded = Engine.load(SMOLLM2, n_ctx=4096, n_parallel=1)
    yield loaded
    loaded.shutdown()


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_forced_calls(engine: Engine, form: ToolFormat, choice: Any) -> None:
    tools = parse_tools(TOOLS, choice, False)
    plan = make_plan(form, PROMPT, tools, reasoning="deepseek", thinks=False)
    grammar = plan.grammar(engine.tokenizer, None)
    assert grammar is not None
    compiled = engine.compile_syntax(grammar.source, grammar.schemas, param="tools")
    for seed in range(2):
        params = SamplingParams(temperature=1.5, seed=seed, n_predict=1500)
        text = answer(engine, PROMPT, params, compiled)
        read = plan.reader().read(text)
        assert read.content.strip() == "", text
        assert read.calls, text
        assert len(read.calls) == 1, text
        for call in read.calls:
            jsonschema.validate(json.loads(call.arguments), tools.tools[call.name].parameters)


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
