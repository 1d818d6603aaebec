"""Libraries that people build on, each unchanged against a live server.

They are heavy, so they have an environment of their own: `make test-clients`. The embedded model knows
no answers; what counts is that each library gets what it asks for in the shape that it parses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from tests.support.server import Server, running

MODEL = "story"
TEXT = "Once upon a time"


class Weather(BaseModel):
    """The weather of some days."""

    unit: Literal["C", "F"]
    days: Literal[1, 2, 3]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "16384", "-np", "2")


@pytest.fixture(scope="module")
def expected(server: Server) -> str:
    return str(server.chat(TEXT, max_tokens=12, temperature=0).body["choices"][0]["message"]["content"])


@pytest.mark.parametrize("responses", [False, True])
def test_langchain(server: Server, expected: str, responses: bool) -> None:
    from langchain_openai import ChatOpenAI

    def chat(**more: Any) -> ChatOpenAI:
        settings = {"temperature": 0, "max_retries": 0, "use_responses_api": responses, **more}
        return ChatOpenAI(model=MODEL, base_url=f"{server.url}/v1", api_key="none", **settings)

    short = chat(max_tokens=12)
    answer = short.invoke(TEXT)
    assert answer.text == expected
    assert answer.usage_metadata["output_tokens"] == 12
    assert "".join(part.text for part in short.stream(TEXT)) == expected
    parsed = chat(max_tokens=200).with_structured_output(Weather, method="json_schema").invoke(TEXT)
    assert isinstance(parsed, Weather)
    calling = chat(max_tokens=200).bind_tools([Weather], tool_choice="any")
    (call,) = calling.invoke(TEXT).tool_calls[:1]
    assert call["name"] == "Weather"
    Weather.model_validate(call["args"])
    whole = None
    for part in calling.stream(TEXT):
        whole = part if whole is None else whole + part
    assert whole.tool_calls[0]["args"] == call["args"]


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA", "TOOLS_STRICT"])
def test_instructor(server: Server, mode: str) -> None:
    import instructor
    import openai

    plain = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    client = instructor.from_openai(plain, mode=instructor.Mode[mode])
    messages = [{"role": "user", "content": TEXT}]
    found = client.chat.completions.create(model=MODEL, messages=messages, response_model=Weather, max_retries=0)
    assert isinstance(found, Weather)
    parts = list(client.chat.completions.create_partial(model=MODEL, messages=messages, response_model=Weather))
    Weather.model_validate(parts[-1].model_dump())


def test_pydantic_ai(server: Server, expected: str) -> None:
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{server.url}/v1", api_key="none")
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model = kind(MODEL, provider=provider)
        short: Any = {"temperature": 0, "max_tokens": 12}
        with_stop = {**short, "extra_body": {"stop": [expected.split()[-1]]}}
        assert Agent(model).run_sync(TEXT, model_settings=with_stop).output.strip() in expected
        longer: Any = {"temperature": 0, "max_tokens": 400}
        for output in (Weather, NativeOutput(Weather)):
            result = Agent(model, output_type=output, retries=0).run_sync(TEXT, model_settings=longer)
            assert isinstance(result.output, Weather)


def test_litellm(server: Server, expected: str) -> None:
    import litellm

    settings: dict[str, Any] = {"messages": [{"role": "user", "content": TEXT}], "temperature": 0, "max_tokens": 12}
    ways = {f"openai/{MODEL}": f"{server.url}/v1", f"anthropic/{MODEL}": server.url, f"ollama_chat/{MODEL}": server.url}
    for name, base in ways.items():
        own = {**settings, "model": name, "api_base": base, "api_key": "none"}
        assert litellm.completion(**own).choices[0].message.content == expected
        stream = litellm.completion(**own, stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in stream) == expected
    tool = {"type": "function", "function": {"name": "weather", "parameters": Weather.model_json_schema()}}
    for name in list(ways)[:2]:
        own = {**settings, "model": name, "api_base": ways[name], "api_key": "none", "max_tokens": 200}
        answer = litellm.completion(**own, tools=[tool], tool_choice="required")
        (call,) = answer.choices[0].message.tool_calls[:1]
        Weather.model_validate_json(call.function.arguments)


def test_llama_index(server: Server, expected: str) -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    settings: dict[str, Any] = {"model": MODEL, "api_base": f"{server.url}/v1", "api_key": "none", "temperature": 0}
    chat = OpenAILike(**settings, is_chat_model=True, max_tokens=12, max_retries=0)
    assert chat.chat([ChatMessage(role="user", content=TEXT)]).message.content == expected
    assert "".join(part.delta or "" for part in chat.stream_chat([ChatMessage(role="user", content=TEXT)])) == expected
    plain = OpenAILike(**settings, is_chat_model=False, max_tokens=12, max_retries=0)
    completed = server.post("/v1/completions", {"prompt": TEXT, "max_tokens": 12, "temperature": 0}).body
    assert plain.complete(TEXT).text == completed["choices"][0]["text"]
    calls = OpenAILike(**settings, is_chat_model=True, is_function_calling_model=True, max_tokens=200, max_retries=0)
    assert isinstance(calls.as_structured_llm(Weather).complete(TEXT).raw, Weather)
