"""Models that people use, beyond the one that all other tests use: what they say, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rustllm import LLM, SamplingParams
from rustllm.perplexity import perplexity
from tests.support.server import ROOT, Server, running

#: A text that every Debian system has.
GPL3 = Path("/usr/share/common-licenses/GPL-3")


def model(name: str) -> Path:
    """A file of `make models`."""
    path = ROOT / ".models" / name
    assert path.exists(), f"{path} is missing: `make models` fetches it"
    return path


GEMMA3 = "gemma-3-270m.Q4_K_M.gguf"
QWEN2 = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"


@pytest.mark.skipif(not GPL3.exists(), reason=f"{GPL3} is not on this system")
def test_the_perplexity_of_gemma_3() -> None:
    result = perplexity(model(GEMMA3), GPL3.read_text(encoding="utf-8"), n_ctx=512, show=False)
    # Exact arithmetic on the same weights gives 13.83, llama.cpp 13.91.
    assert 0.995 * 13.83 < result.value < 1.005 * 13.91


def test_gemma_3_knows_its_capitals_beyond_its_window() -> None:
    # 600 tokens come between the beginning and the question: most layers no longer see the beginning.
    filler = " The weather was fine and nothing else happened that day." * 50
    with LLM(model(GEMMA3), n_ctx=1024, n_parallel=2) as llm:
        prompts = [f"My dog is called Rufus.{filler} My dog is called", "Paris is the capital of"]
        assert len(llm.tokenize(prompts[0])) > 550
        long, short = llm.generate(prompts, SamplingParams(max_tokens=3, temperature=0), use_tqdm=False)
        assert long.text.strip().startswith("Rufus")
        assert short.text.strip().startswith(("France", "the French"))


@pytest.fixture(scope="module")
def coder() -> Iterator[Server]:
    yield from running("-m", str(model(QWEN2)), "-c", "4096", "-np", "2")


def test_qwen_2_fills_in_the_middle(coder: Server) -> None:
    request = {
        "input_prefix": "def area_of_circle(radius):\n    ",
        "input_suffix": "\n\nprint(area_of_circle(2))\n",
        "n_predict": 32,
        "temperature": 0,
    }
    body = coder.post("/infill", request).body
    # llama-server's prompt and answer for the same file.
    around = "def area_of_circle(radius):\n    <|fim_suffix|>\n\nprint(area_of_circle(2))\n"
    assert body["prompt"] == f"filename\n<|fim_prefix|>{around}<|fim_middle|>"
    assert body["content"] == "return 3.14 * radius ** 2\n\nprint(area_of_circle(5))\n"
    assert body["stop_type"] == "eos"


def test_qwen_2_answers_and_calls_tools(coder: Server) -> None:
    ask = {"messages": [{"role": "user", "content": "What is 2 + 3? Answer with the number only."}]}
    answer = coder.post("/v1/chat/completions", {**ask, "max_tokens": 8, "temperature": 0}).body
    assert answer["choices"][0]["message"]["content"].strip() == "5"
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": parameters}}
    question = {"messages": [{"role": "user", "content": "How is the weather in Oslo?"}], "tools": [tool]}
    asked = {**question, "tool_choice": "required", "max_tokens": 64, "temperature": 0}
    (call,) = coder.post("/v1/chat/completions", asked).body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert "Oslo" in call["function"]["arguments"]
