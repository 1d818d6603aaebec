"""The chat-completion contract, case by case, against real server processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.server import CONTRACT, TEMPLATES, Server, as_messages, assert_error, running

FIBONACCI = ("You are a coding assistant.", "Write the fibonacci function in c++.")
BEST_BOOK = ("Book", "What is the best book")
LLAMA32 = str(TEMPLATES / "meta-llama-Llama-3.2-3B-Instruct.jinja")


@pytest.fixture(scope="module", params=["--jinja", "--no-jinja"])
def both(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from running(*CONTRACT, request.param)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running(*CONTRACT)


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def check(answer: Any, prompt: int, completion: int, pattern: str, reason: str = "length") -> None:
    assert answer.status == 200, answer.body
    body = answer.body
    assert "cmpl" in body["id"]
    assert body["system_fingerprint"].startswith("b")
    assert body["usage"]["prompt_tokens"] == prompt
    assert body["usage"]["completion_tokens"] == completion
    (choice,) = body["choices"]
    assert choice["message"]["role"] == "assistant"
    assert re.search(pattern, choice["message"]["content"]), choice
    assert choice["finish_reason"] == reason


def test_completion(both: Server) -> None:
    check(both.chat("Book", "Hey", max_tokens=8), 69, 8, "But she couldn't")
    check(both.chat(*BEST_BOOK, max_tokens=8), 77, 8, r"(Suddenly)+|\{ \" Sarax.")


@pytest.mark.parametrize(
    ("template", "prompt", "pattern"),
    [
        ("chatml", 77, r"(Suddenly)+|\{ \" Sarax."),
        ("This is not a chat template, it is", 23, "^ blue"),
    ],
)
def test_template_of_the_operator(template: str, prompt: int, pattern: str) -> None:
    for one in running(*CONTRACT, "--jinja", "--chat-template", template):
        check(one.chat(*BEST_BOOK, max_tokens=8), prompt, 8, pattern)


def test_an_unknown_model_is_served(server: Server) -> None:
    answer = server.chat(*FIBONACCI, max_tokens=128, model="codellama70b")
    check(answer, 104, 128, "(Aside|she|felter|alonger)+")


def test_content_parts_are_joined_by_a_line_break(server: Server) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "the best book"}]
    messages = [{"role": "system", "content": "Book"}, {"role": "user", "content": parts}]
    check(server.post("/chat/completions", {"messages": messages, "max_tokens": 8}), 79, 8, "Whillicter")


def test_cached_tokens_are_counted_by_token() -> None:
    for one in running(*CONTRACT[:-8], "--parallel", "1", *CONTRACT[-6:]):
        cached = []
        for text in ("1 2 3 4 5 6", "1 2 3 4 5 6", "1 2 3 4 5 9", "1 2 3 9 9 9"):
            usage = one.chat("Test", text, max_tokens=8).body["usage"]
            assert usage["prompt_tokens"] == 77
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        assert cached == [0, 76, 51, 47]


@pytest.mark.parametrize(
    ("messages", "tokens", "prompt", "pattern"),
    [(BEST_BOOK, 8, 77, r"(Suddenly)+|\{ \" Sarax."), (FIBONACCI, 128, 104, "(Aside|she|felter|alonger)+")],
)
def test_stream(messages: tuple[str, str], tokens: int, prompt: int, pattern: str) -> None:
    arguments = [value if value != "tinyllama-2" else "llama-test-model" for value in CONTRACT]
    for one in running(*arguments):
        events = one.stream("/v1/chat/completions", {"messages": as_messages(*messages), "max_tokens": tokens})
        first = events[0]["choices"][0]["delta"]
        assert first == {"role": "assistant", "content": None}
        assert len({event["id"] for event in events}) == 1
        assert {event["model"] for event in events} == {"llama-test-model"}
        assert all(event["system_fingerprint"].startswith("b") for event in events)
        text, reasons = "", []
        for event in events[1:-1]:
            (choice,) = event["choices"]
            assert "role" not in choice["delta"]
            if choice["finish_reason"] is None:
                text += choice["delta"]["content"]
            else:
                reasons.append(choice["finish_reason"])
                assert "content" not in choice["delta"]
        assert reasons == ["length"]
        assert re.search(pattern, text)
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["prompt_tokens"] == prompt
        assert events[-1]["usage"]["completion_tokens"] == tokens


def test_openai_library(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-3.5-turbo-instruct",
        messages=as_messages(*BEST_BOOK),
        max_tokens=8,
        seed=42,
        temperature=0.8,
    )
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith("b")
    assert answer.choices[0].finish_reason == "length"
    assert re.search("(Suddenly)+", answer.choices[0].message.content or "")


def test_template_by_name_is_shown_when_verbose() -> None:
    for one in running(*CONTRACT, "--chat-template", "llama3", "--verbose"):
        prompt = one.chat(*BEST_BOOK, max_tokens=8).body["__verbose"]["prompt"]
        assert prompt == (
            "<s> <|start_header_id|>system<|end_header_id|>\n\nBook<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhat is the best book<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        )


def test_assistant_prefill() -> None:
    header = "<|start_header_id|>assistant<|end_header_id|>\n\n"
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "ill"}]
    for one in running(*CONTRACT, "--jinja", "--chat-template-file", LLAMA32, "--verbose"):

        def prompt(content: Any, one: Server = one, **fields: Any) -> str:
            messages = [*as_messages(*BEST_BOOK), {"role": "assistant", "content": content}]
            answer = one.post("/chat/completions", {"messages": messages, "max_tokens": 8, **fields})
            assert answer.status == 200, answer.body
            return str(answer.body["__verbose"]["prompt"])

        assert prompt("Whill").endswith(header + "Whill")
        assert prompt(parts).endswith(header + "Wh\n\nill")
        assert prompt("Whill", continue_final_message=True, add_generation_prompt=False).endswith(header + "Whill")


def test_continue_and_generate_exclude_each_other(server: Server) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    body = {"messages": messages, "continue_final_message": True, "add_generation_prompt": True}
    assert_error(server.post("/chat/completions", body))


def test_apply_template() -> None:
    for one in running(*CONTRACT, "--chat-template", "command-r"):
        body = {"messages": as_messages("You are a test.", "Hi there")}
        assert one.post("/apply-template", body).body["prompt"] == (
            "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>You are a test.<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi there<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
        )


INTEGERS = {"items": [{"type": "integer"}]}


@pytest.mark.parametrize(
    ("form", "tokens", "pattern"),
    [
        ({"type": "json_object", "schema": {"const": "42"}}, 6, '^"42"$'),
        ({"type": "json_object", "schema": INTEGERS}, 10, r'^\s*(\[\s*(-?\d+\s*(,.*)?)?\]?|"|\{|-?\d|t|f|n)'),
        ({"type": "json_schema", "json_schema": {"schema": {"const": "foooooo"}}}, 10, '^"foooooo"$'),
        ({"type": "json_object"}, 10, r"^\{"),
    ],
)
def test_response_format(both: Server, form: dict[str, Any], tokens: int, pattern: str) -> None:
    answer = both.chat("You are a coding assistant.", "Write an example", max_tokens=tokens, response_format=form)
    assert answer.status == 200, answer.body
    assert re.match(pattern, answer.body["choices"][0]["message"]["content"], re.DOTALL), answer.body


@pytest.mark.parametrize(
    "form",
    [
        {"type": "sound"},
        {"type": "json_object", "schema": 123},
        {"type": "json_object", "schema": {"type": 123}},
        {"type": "json_object", "schema": {"type": "hiccup"}},
    ],
)
def test_bad_response_format(both: Server, form: dict[str, Any]) -> None:
    assert_error(both.chat("You are a coding assistant.", "Write an example", response_format=form))


def test_json_schema(both: Server) -> None:
    answer = both.chat("You are a coding assistant.", "Write an example", max_tokens=6, json_schema={"const": "42"})
    assert answer.body["choices"][0]["message"]["content"] == '"42"'


def test_grammar(both: Server) -> None:
    answer = both.chat("Does not matter", max_tokens=6, grammar='root ::= "a"{5,5}')
    assert re.fullmatch("a{5,5}", answer.body["choices"][0]["message"]["content"])


def test_bad_grammar(server: Server) -> None:
    assert_error(server.chat("Does not matter", grammar="root ::= this is (not valid GBNF"), param="grammar")


@pytest.mark.parametrize(
    "messages",
    [
        None,
        "string",
        [123],
        [{}],
        [{"role": 123}],
        [{"role": "system", "content": 123}],
        [{"role": "system", "content": "test"}, {}],
        [
            {"role": "user", "content": "test"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "b"},
        ],
    ],
)
def test_bad_messages(server: Server, messages: Any) -> None:
    assert_error(server.post("/chat/completions", {"messages": messages}))


def test_timings_in_a_stream(server: Server) -> None:
    body = {
        "messages": as_messages("test"),
        "max_tokens": 10,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
    }
    events = server.stream("/chat/completions", body)
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert "timings" not in events[0]
    last = events[-1]
    assert last["choices"] == []
    assert last["timings"]["prompt_per_second"] > 0
    assert last["timings"]["predicted_per_second"] > 0
    assert 0 < last["timings"]["predicted_n"] <= 10


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any",
        temperature=0,
        messages=as_messages(*BEST_BOOK),
        max_tokens=5,
        logprobs=True,
        top_logprobs=10,
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content or []
    assert "".join(entry.token for entry in content) == choice.message.content
    for entry in content:
        assert entry.logprob <= 0
        assert entry.bytes
        assert entry.top_logprobs


def test_logprobs_in_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="any",
        temperature=0,
        messages=as_messages(*BEST_BOOK),
        max_tokens=5,
        logprobs=True,
        top_logprobs=10,
        stream=True,
    )
    text, tokens = "", ""
    for event in stream:
        for choice in event.choices:
            text += choice.delta.content or ""
            for entry in (choice.logprobs.content or []) if choice.logprobs else []:
                tokens += entry.token
                assert entry.logprob <= 0
                assert entry.bytes
                assert entry.top_logprobs
    assert text
    assert tokens == text


def test_logit_bias(server: Server) -> None:
    words = [
        "i",
        "I",
        "the",
        "The",
        "to",
        "a",
        "an",
        "be",
        "is",
        "was",
        "but",
        "But",
        "and",
        "And",
        "so",
        "you",
        "he",
    ]
    words += [
        "He",
        "she",
        "She",
        "we",
        "they",
        "them",
        "had",
        "in",
        "on",
        "of",
        "She",
        "her",
        "him",
        "his",
        "it",
        "It",
    ]
    tokens = []
    for word in words:
        for variant in (word, f" {word}"):
            tokens += server.post("/tokenize", {"content": variant}).body["tokens"]
    bias = [[token, -100] for token in set(tokens)]
    answer = server.chat(*BEST_BOOK, max_tokens=64, temperature=0, logit_bias=bias)
    text = answer.body["choices"][0]["message"]["content"]
    assert text
    found = set(re.split(r"[^a-zA-Z]+", text)) & set(words)
    assert not found, text


def test_over_the_context(server: Server) -> None:
    messages = as_messages(*BEST_BOOK) * 100
    for stream in (False, True):
        error = assert_error(server.post("/chat/completions", {"messages": messages, "stream": stream}))
        assert error["type"] == "exceed_context_size_error"
        assert error["n_prompt_tokens"] > 0
        assert error["n_ctx"] == 256


def test_return_progress() -> None:
    arguments = ("--batch-size", "64", "--ctx-size", "256", "--parallel", "1", "--seed", "42")
    body = {"messages": as_messages("This is a test" * 10), "max_tokens": 10, "return_progress": True}
    for one in running(*arguments):
        for cold in (True, False):
            events = one.stream("/chat/completions", body)
            progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
            assert len(progress) == (4 if cold else 2)
            assert progress[0]["processed"] == progress[0]["cache"]
            assert (progress[0]["cache"] > 0) != cold
            assert len({(p["total"], p["cache"]) for p in progress}) == 1
            processed = [p["processed"] for p in progress]
            assert processed == sorted(set(processed))
            assert processed[-1] == progress[0]["total"]


def test_several_choices(server: Server) -> None:
    for _ in range(2):
        answer = server.chat(*BEST_BOOK, max_tokens=8, n=2, id_slot=0)
        assert len(answer.body["choices"]) == 2
        for choice in answer.body["choices"]:
            assert choice["message"]["role"] == "assistant"
            assert choice["finish_reason"] == "length"


def test_input_tokens(server: Server) -> None:
    for _ in range(2):
        answer = server.post("/chat/completions/input_tokens", {"messages": as_messages(*BEST_BOOK)})
        assert answer.body["input_tokens"] > 5


def test_verbose_in_the_body(server: Server) -> None:
    shown = server.chat(*BEST_BOOK, max_tokens=2, verbose=True).body
    assert "Book" in shown["__verbose"]["prompt"]
    assert "__verbose" not in server.chat(*BEST_BOOK, max_tokens=2, verbose=False).body
    assert json.dumps(shown)
