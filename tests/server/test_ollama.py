"""Ollama's endpoints against its official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import ollama
import pytest

from rustllm.server.ollama import schemas
from tests.support.embeddings import CLS
from tests.support.server import Answer, Server, running

WEATHER = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": WEATHER}}]
MESSAGES = [{"role": "user", "content": "Once upon a time"}]
OPTIONS = {"temperature": 0, "num_predict": 12, "num_ctx": 2048}
CHAT: dict[str, Any] = {"model": "story", "messages": MESSAGES, "options": OPTIONS}
PROMPT: dict[str, Any] = {"model": "story", "prompt": "Once upon a time", "options": OPTIONS}

#: A template whose prompts open a thought.
THINKS = "{# </think> #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}<think>\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "4096", "-np", "2")


@pytest.fixture
def client(server: Server) -> ollama.Client:
    return ollama.Client(host=server.url)


def lines_of(server: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a stream, each of the right shape."""
    shape = schemas.ChatAnswer if path == "/api/chat" else schemas.GenerateAnswer
    with server.client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in response.iter_lines()]
    for line in lines:
        shape.model_validate(line, strict=True)
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines


def both(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer, whose text and thought are the same whole and streamed."""
    answer = server.post(path, {**body, "stream": False})
    assert answer.status == 200, answer.body
    shape = schemas.ChatAnswer if path == "/api/chat" else schemas.GenerateAnswer
    shape.model_validate(answer.body, strict=True)
    lines = lines_of(server, path, body)
    if path == "/api/chat":
        for name in ("content", "thinking"):
            joined = "".join(line["message"].get(name, "") for line in lines)
            assert joined == answer.body["message"].get(name, "")
    else:
        for name in ("response", "thinking"):
            assert "".join(line.get(name, "") for line in lines) == answer.body.get(name, "")
    for name in ("done_reason", "eval_count", "prompt_eval_count"):
        assert lines[-1][name] == answer.body[name]
    return dict(answer.body)


def test_chats(server: Server) -> None:
    answer = both(server, "/api/chat", CHAT)
    chat = server.chat(MESSAGES[0]["content"], max_tokens=12, temperature=0).body
    assert answer["message"]["content"] == chat["choices"][0]["message"]["content"]
    assert answer["prompt_eval_count"] == chat["usage"]["prompt_tokens"]
    assert (answer["model"], answer["done_reason"], answer["eval_count"]) == ("story", "length", 12)
    assert answer["total_duration"] >= answer["eval_duration"] > 100_000


def test_prompts(server: Server) -> None:
    whole = both(server, "/api/chat", CHAT)["message"]["content"]
    assert both(server, "/api/generate", PROMPT)["response"] == whole
    system = both(server, "/api/generate", {**PROMPT, "system": "Be kind."})
    chat = server.chat("Be kind.", PROMPT["prompt"], max_tokens=12, temperature=0).body
    assert system["response"] == chat["choices"][0]["message"]["content"]


def test_raw_prompts(server: Server) -> None:
    raw = both(server, "/api/generate", {**PROMPT, "raw": True})
    completion = server.post("/completion", {"prompt": PROMPT["prompt"], "n_predict": 12, "temperature": 0}).body
    assert raw["response"] == completion["content"]
    assert raw["prompt_eval_count"] == completion["tokens_evaluated"]
    form = both(server, "/api/generate", {**PROMPT, "raw": True, "format": WEATHER, "options": {"temperature": 0}})
    jsonschema.validate(json.loads(form["response"]), WEATHER)


def test_stop_strings_end_an_answer(server: Server) -> None:
    text = both(server, "/api/chat", CHAT)["message"]["content"]
    word = text.split()[2]
    answer = both(server, "/api/chat", {**CHAT, "options": {**OPTIONS, "stop": [word]}})
    assert answer["done_reason"] == "stop"
    assert answer["message"]["content"] == text[: text.index(word)]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_formats(server: Server, path: str) -> None:
    body = {**(CHAT if path == "/api/chat" else PROMPT), "options": {"temperature": 0, "num_predict": 200}}

    def text(form: Any) -> str:
        answer = both(server, path, {**body, "format": form})
        return str(answer["message"]["content"] if path == "/api/chat" else answer["response"])

    jsonschema.validate(json.loads(text(WEATHER)), WEATHER)
    assert text("json").lstrip().startswith("{")
    assert text("") == text(None)


def test_thoughts() -> None:
    for one in running("-c", "1024", "--jinja", "--chat-template", THINKS, "--reasoning-budget", "5"):
        options = {**OPTIONS, "num_predict": 24}
        message = both(one, "/api/chat", {**CHAT, "options": options, "think": True})["message"]
        assert message["thinking"]
        assert message["content"]
        answer = both(one, "/api/generate", {**PROMPT, "options": options, "think": "low"})
        assert (answer["thinking"], answer["response"]) == (message["thinking"], message["content"])


def test_calls_and_results_go_back_in(server: Server) -> None:
    call = {"name": "weather", "arguments": {"unit": "C", "days": 2}}
    other = {"name": "now", "arguments": {}}
    chat = [
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [{"function": call}, {"function": other}]},
        {"role": "tool", "tool_name": "now", "content": "Noon"},
        {"role": "tool", "content": "Sunny"},
    ]
    same = [
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_0", "type": "function", "function": call},
            {"id": "call_1", "type": "function", "function": other},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "name": "now", "content": "Noon"},
        {"role": "tool", "tool_call_id": "call_0", "name": "weather", "content": "Sunny"},
    ]  # fmt: skip
    answer = both(server, "/api/chat", {**CHAT, "messages": chat, "tools": TOOLS})
    expected = server.post("/v1/chat/completions/input_tokens", {"messages": same, "tools": TOOLS}).body
    assert answer["prompt_eval_count"] == expected["input_tokens"]


def test_log_probabilities(server: Server) -> None:
    more = {"logprobs": True, "top_logprobs": 2}
    for path, body in (("/api/chat", CHAT), ("/api/generate", PROMPT), ("/api/generate", {**PROMPT, "raw": True})):
        answer = both(server, path, {**body, **more})
        assert len(answer["logprobs"]) == 12
        assert all(len(each["top_logprobs"]) == 2 for each in answer["logprobs"])
        assert sum(len(line.get("logprobs", ())) for line in lines_of(server, path, {**body, **more})) == 12


def test_the_client(client: ollama.Client, server: Server) -> None:
    whole = client.chat(**CHAT)
    parts = list(client.chat(**CHAT, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert client.generate(**PROMPT).response == whole.message.content
    assert "".join(part.response for part in client.generate(**PROMPT, stream=True)) == whole.message.content
    formed = client.chat(**{**CHAT, "options": {"temperature": 0}}, format=WEATHER)
    jsonschema.validate(json.loads(formed.message.content or ""), WEATHER)

    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    assert client.chat(**CHAT, tools=[weather]).message.role == "assistant"
    (listed,) = client.list().models
    shown = client.show("story")
    assert listed.details == shown.details
    assert listed.size
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.capabilities == ["completion", "tools"]
    (running_one,) = client.ps().models
    assert running_one.context_length == 2048
    with pytest.raises(ollama.ResponseError, match=r"options\.num_predict"):
        client.chat(**{**CHAT, "options": {"num_predict": "many"}})


def test_vectors(server: Server) -> None:
    for one in running("-m", str(CLS), "-b", "200"):
        client = ollama.Client(host=one.url)
        texts = ["the cat", "a red book"]
        data = one.post("/v1/embeddings", {"input": texts}).body["data"]
        answer = client.embed("x", texts)
        assert [list(vector) for vector in answer.embeddings] == [entry["embedding"] for entry in data]
        schemas.EmbedAnswer.model_validate(one.post("/api/embed", {"input": "the cat"}).body, strict=True)
        assert client.embed("x", []).embeddings == []
        assert list(client.embeddings("x", "the cat").embedding) == data[0]["embedding"]
        assert one.post("/api/embeddings", {}).body == {"embedding": []}
        assert client.show("x").capabilities == ["embedding"]
        assert_refused(one.post("/api/embed", {"input": 5}), 400, "input", "5")
        assert_refused(one.post("/api/embed", {"input": ["x"] * 5000}), 400, "input", "5000")
        assert_refused(one.post("/api/embed", {"input": "cat", "dimensions": -1}), 400, "dimensions", "-1")
        assert_refused(one.post("/api/embeddings", {"prompt": ["x"]}), 400, "prompt")
    assert_refused(server.post("/api/embed", {"input": "x"}), 501, "--embeddings")


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/api/tags", schemas.Tags), ("/api/ps", schemas.Processes), ("/api/version", schemas.Version)],
)
def test_what_is_got(server: Server, path: str, shape: Any) -> None:
    shape.model_validate(server.get(path).body, strict=True)


def test_what_is_shown(server: Server) -> None:
    schemas.Show.model_validate(server.post("/api/show", {"model": "x"}).body, strict=True)
    schemas.Show.model_validate(server.post("/api/show", {"name": "x", "verbose": True}).body, strict=True)


@pytest.mark.parametrize(("keep", "reason"), [(None, "load"), (300, "load"), (0, "unload"), ("0", "unload")])
def test_nothing_is_answered_at_once(server: Server, keep: Any, reason: str) -> None:
    for path in ("/api/chat", "/api/generate"):
        answer = server.post(path, {"model": "story", "keep_alive": keep}).body
        assert (answer["done"], answer["done_reason"]) == (True, reason)


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    """An error in Ollama's shape that says these words."""
    assert answer.status == status, answer.body
    error = schemas.OllamaError.model_validate(answer.body, strict=True).error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("/api/chat", {"messages": "hi"}, ["messages", "'hi'"]),
        ("/api/chat", {"messages": [5]}, ["messages[0]", "5"]),
        ("/api/chat", {"messages": [{"role": "robot"}]}, ["messages[0].role", "'robot'", "'user'"]),
        ("/api/chat", {"messages": [{"role": "user", "content": 5}]}, ["messages[0].content", "5"]),
        ("/api/chat", {"messages": [{"role": "user", "images": ["aGk="]}]}, ["messages[0].images", "not supported"]),
        ("/api/chat", {"tools": 5}, ["tools", "5"]),
        ("/api/chat", {"tools": [{"type": "function"}]}, ["tools[0].function"]),
        ("/api/chat", {"options": []}, ["options", "[]"]),
        ("/api/chat", {"options": {"num_predict": "many"}}, ["options.num_predict", "'many'"]),
        ("/api/chat", {"options": {"num_predict": 2**63}}, ["options.num_predict", str(2**63)]),
        ("/api/chat", {"options": {"temperature": "hot"}}, ["options.temperature", "'hot'"]),
        ("/api/chat", {"options": {"top_p": -1}}, ["options.top_p", "-1"]),
        ("/api/chat", {"options": {"stop": ["x"] * 1000}}, ["options.stop", "1000"]),
        ("/api/chat", {"options": {"seed": -2}}, ["options.seed", "-2"]),
        ("/api/chat", {"format": "xml"}, ["format", "'xml'"]),
        ("/api/chat", {"format": {"type": 5}}, ["format"]),
        ("/api/chat", {"think": "hard"}, ["think", "'hard'"]),
        ("/api/chat", {"stream": "yes"}, ["stream", "'yes'"]),
        ("/api/chat", {"messages": [{"role": "user", "content": "ab " * 5000}]}, ["2048"]),
        ("/api/generate", {"prompt": 5}, ["prompt", "5"]),
        ("/api/generate", {"suffix": "x"}, ["suffix", "'x'", "not supported by this model"]),
        ("/api/generate", {"template": "x"}, ["template", "operator"]),
        ("/api/generate", {"context": [1]}, ["context", "/api/chat"]),
        ("/api/generate", {"images": ["aGk="]}, ["images", "not supported"]),
        ("/api/generate", {"raw": True, "system": "x"}, ["system", "raw"]),
        ("/api/generate", {"raw": True, "options": {"top_p": -1}}, ["options.top_p", "-1"]),
        ("/api/generate", {"raw": True, "format": {"type": 5}}, ["format"]),
    ],
)
def test_what_is_refused(server: Server, path: str, fields: dict[str, Any], words: list[str]) -> None:
    assert_refused(server.post(path, {**(CHAT if path == "/api/chat" else PROMPT), **fields}), 400, *words)


def test_other_errors_have_the_shape_as_well(server: Server) -> None:
    assert_refused(server.post("/api/chat", content=b"{"), 400, "JSON")
    assert_refused(server.get("/api/chat"), 405)
    assert_refused(server.post("/api/pull", {"model": "x"}), 404)


def test_null_is_absent_and_unknown_fields_are_ignored(server: Server) -> None:
    names = ("stream", "format", "think", "logprobs", "top_logprobs", "keep_alive", "tools")
    options = {**OPTIONS, **dict.fromkeys(("top_k", "stop", "seed", "min_p")), "numa": True, "penalize_newline": 5}
    given = {**CHAT, "options": options, **dict.fromkeys(names), "shift": True}
    assert both(server, "/api/chat", given)["message"] == both(server, "/api/chat", CHAT)["message"]
