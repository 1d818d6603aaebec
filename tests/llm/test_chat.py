"""Conversations: formats, tools, thoughts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from rustllm import LLM, InvalidRequestError, SamplingParams, UnsupportedError
from rustllm.chat.messages import MessageError

HI = [{"role": "user", "content": "Hi"}]
GREEDY = SamplingParams(max_tokens=10, temperature=0)

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "enum": [1]}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


class Mood(BaseModel):
    mood: Literal["good", "bad"]


def test_one_and_many_conversations(llm: LLM) -> None:
    reply = llm.chat(HI, GREEDY)
    assert reply.text == reply.content
    assert reply.message == {"role": "assistant", "content": reply.content}
    both = llm.chat([HI, [*HI, reply.message, *HI]], GREEDY, use_tqdm=False)
    assert both[0].content == reply.content
    assert both[1].usage.prompt_tokens > both[0].usage.prompt_tokens


def test_pydantic_models_are_made(llm: LLM) -> None:
    reply = llm.chat(HI, SamplingParams(max_tokens=60), response_format=Mood)
    assert isinstance(reply.parsed, Mood)
    assert reply.parsed.mood in ("good", "bad")
    many = llm.chat([HI, HI], SamplingParams(max_tokens=60), response_format=Mood, use_tqdm=False)
    assert all(isinstance(one.parsed, Mood) for one in many)
    cut = llm.chat(HI, SamplingParams(max_tokens=2), response_format=Mood)
    assert (cut.finish_reason, cut.parsed) == ("length", None)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "object", "properties": {"n": {"const": 1}}, "required": ["n"], "additionalProperties": False},
        {"type": "json_schema", "json_schema": {"schema": {"enum": [{"n": 1}]}}},
    ],
)
def test_schemas_become_values(llm: LLM, form: dict[str, Any]) -> None:
    assert llm.chat(HI, SamplingParams(max_tokens=40), response_format=form).parsed == {"n": 1}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (5, "response_format: 5 is not a format"),
        ({"type": "json_schema"}, "response_format.json_schema: an object is needed"),
        ({"type": "strange"}, "response_format"),
    ],
)
def test_bad_formats(llm: LLM, form: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        llm.chat(HI, response_format=form)


@pytest.fixture(scope="module")
def roomy() -> Iterator[LLM]:
    """Descriptions of tools need more context than the story model was trained for."""
    with LLM(n_ctx=4096, n_parallel=2) as model:
        yield model


def test_tools_are_called(roomy: LLM) -> None:
    params = SamplingParams(max_tokens=200, temperature=0)
    asked: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    reply = roomy.chat(HI, params, **asked)
    [call] = reply.tool_calls
    assert (call.name, call.args) == ("add", {"a": 1})
    assert reply.finish_reason == "tool_calls"
    assert reply.message["tool_calls"][0]["function"]["name"] == "add"
    # The result goes back to the model.
    result = {"role": "tool", "tool_call_id": call.id, "content": "2"}
    again = roomy.chat([*HI, reply.message, result], GREEDY, tools=[TOOL])
    assert again.usage.prompt_tokens > reply.usage.prompt_tokens
    deltas = list(roomy.chat(HI, params, stream=True, **asked))
    calls = [one for delta in deltas for one in delta.tool_calls]
    assert calls[0].name == "add"
    assert "".join(one.arguments for one in calls) == call.arguments
    assert deltas[-1].finish_reason == "tool_calls"
    # What is held back until it is known to be a call is counted as well.
    assert [token for delta in deltas for token in delta.token_ids] == reply.token_ids


def test_thoughts_are_apart() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n</think>"
    with LLM(chat_template=template) as llm:
        form = "<think>because</think>yes"
        reply = llm.chat(HI, SamplingParams(grammar=f'root ::= "{form}"', max_tokens=60), reasoning_format="none")
        assert reply.content == form
    with LLM(chat_template="{{ messages[0].content }}{# <think> </think> #}") as llm:
        reply = llm.chat(HI, SamplingParams(grammar=f'root ::= "{form}"', max_tokens=60))
        assert (reply.reasoning_content, reply.content) == ("because", "yes")
        deltas = list(llm.chat(HI, SamplingParams(grammar=f'root ::= "{form}"', max_tokens=60), stream=True))
        assert "".join(delta.reasoning_content for delta in deltas) == "because"
        assert "".join(delta.text for delta in deltas) == "yes"
        assert "<details>" in reply._repr_markdown_()


def test_stream_is_the_answer_in_parts(llm: LLM) -> None:
    with llm.chat(HI, GREEDY, stream=True) as stream:
        deltas = list(stream)
    whole = llm.chat(HI, GREEDY)
    assert "".join(delta.text for delta in deltas) == whole.content
    assert [token for delta in deltas for token in delta.token_ids] == whole.token_ids
    usage = deltas[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, 10)
    assert usage.completion_ms > 0
    assert [delta.usage for delta in deltas[:-1]] == [None] * (len(deltas) - 1)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "robot", "content": "Hi"}], r"messages\[0\].role: 'robot' is unknown"),
        ([HI, [{"role": "user"}]], r"messages\[1\]: messages\[0\].content: it is missing"),
        ("Hi", "messages: a string is not a list of messages"),
        ([], "messages: the list is empty"),
    ],
)
def test_bad_messages(llm: LLM, messages: Any, message: str) -> None:
    with pytest.raises(MessageError, match=message):
        llm.chat(messages)


def test_bad_options(llm: LLM) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'temperature'"):
        llm.chat(HI, temperature=0)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequestError, match="reasoning_format: 'loud' is unknown"):
        llm.chat(HI, reasoning_format="loud")
    with pytest.raises(InvalidRequestError, match="json_schema and response_format: only one"):
        llm.chat(HI, SamplingParams(json_schema={}), response_format=Mood)


def test_a_template_that_is_broken_is_found_when_the_model_loads() -> None:
    with pytest.raises(ValueError, match="the chat template cannot be parsed"):
        LLM(chat_template="{% for %}")


def test_embedding_models_do_not_chat(minilm: LLM) -> None:
    with pytest.raises(UnsupportedError, match="embeds texts"):
        minilm.chat(HI)
