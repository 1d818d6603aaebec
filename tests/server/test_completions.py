"""`/v1/completions` against the official client: echo, log probabilities, several prompts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Completion

from rustllm.server.openai.completions.schemas import TextCompletion
from tests.support.model_file import fim_model
from tests.support.server import Server, assert_error, running

ASK: dict[str, Any] = {"model": "story", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2")


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def texts(chunks: Iterator[Completion]) -> list[str]:
    """The texts of a stream, by their index."""
    found: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            found[choice.index] = found.get(choice.index, "") + choice.text
    return [found[index] for index in sorted(found)]


def test_echo_puts_the_prompt_before_each_choice(client: openai.OpenAI) -> None:
    plain = client.completions.create(**ASK).choices[0].text
    for prompt, shown in (
        ("Once upon a time", ["Once upon a time"]),
        (["Hey", "Once upon a time"], ["Hey", "Once upon a time"]),
    ):
        asking = {**ASK, "prompt": prompt, "n": 2}
        own = [choice.text for choice in client.completions.create(**asking).choices]
        echoed = [choice.text for choice in client.completions.create(**asking, echo=True).choices]
        assert echoed == [shown[index // 2] + text for index, text in enumerate(own)]
        assert texts(client.completions.create(**asking, echo=True, stream=True)) == echoed
        assert own[-2] == plain


def test_echo_of_token_ids(client: openai.OpenAI, server: Server) -> None:
    tokens = server.post("/tokenize", {"content": "Once upon", "add_special": True}).body["tokens"]
    (choice,) = client.completions.create(**{**ASK, "prompt": tokens}, echo=True).choices
    assert choice.text.strip().startswith("Once upon")


def test_log_probabilities_in_the_older_shape(client: openai.OpenAI, server: Server) -> None:
    whole = client.completions.create(**ASK, logprobs=3)
    (choice,) = whole.choices
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.text_offset == [len("".join(logprobs.tokens[:place])) for place in range(8)]
    for token, value, top in zip(
        logprobs.tokens, logprobs.token_logprobs or [], logprobs.top_logprobs or [], strict=True
    ):
        # The greedy choice is the most probable one.
        assert value == top[token] == max(top.values()) < 0
        assert len(top) == 3
    streamed = [chunk.choices[0].logprobs for chunk in client.completions.create(**ASK, logprobs=3, stream=True)]
    parts = [part for part in streamed if part is not None]
    assert [token for part in parts for token in part.tokens or ()] == logprobs.tokens
    assert [offset for part in parts for offset in part.text_offset or ()] == logprobs.text_offset
    # llama-server's shape stands beside it.
    body = server.post("/v1/completions", {**ASK, "logprobs": 3}).body
    TextCompletion.model_validate(body, strict=True)
    assert [entry["token"] for entry in body["choices"][0]["logprobs"]["content"]] == logprobs.tokens
    after = server.post("/v1/completions", {**ASK, "logprobs": 3, "post_sampling_probs": True}).body
    assert after["choices"][0]["logprobs"].keys() == {"content"}


@pytest.mark.parametrize("max_tokens", [0, 8])
@pytest.mark.parametrize("prompt", ["Once upon a time", "Élan 🎉 vital", [403, 407, 261, 378], ["Hey", "One day"]])
def test_log_probabilities_of_what_is_echoed(
    client: openai.OpenAI, server: Server, prompt: Any, max_tokens: int
) -> None:
    asking = {**ASK, "prompt": prompt, "max_tokens": max_tokens, "logprobs": 2, "echo": True, "n": 2}
    choices = client.completions.create(**asking).choices
    several = isinstance(prompt, list) and isinstance(prompt[0], str)
    assert len(choices) == (4 if several else 2)
    for choice in choices:
        logprobs = choice.logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert logprobs.token_logprobs is not None
        assert logprobs.top_logprobs is not None
        assert logprobs.text_offset is not None
        one = prompt[choice.index // 2] if several else prompt
        ids = one if isinstance(one, list) else server.post("/tokenize", {"prompt": one}).body["tokens"]
        n = len(ids)
        lengths = {len(part) for part in (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs)}
        assert lengths == {n + max_tokens} == {len(logprobs.text_offset)}
        assert logprobs.token_logprobs[0] is None
        assert logprobs.top_logprobs[0] is None
        assert all(value < 0 for value in logprobs.token_logprobs[1:] if value is not None)
        assert None not in logprobs.token_logprobs[1:]
        assert {len(top) for top in logprobs.top_logprobs[1:] if top is not None} <= {1, 2}
        assert logprobs.text_offset == sorted(logprobs.text_offset)
        # The tokens say the text, but for what the tokenizer puts before it and for parts of characters.
        if isinstance(one, list) or one.isascii():
            assert "".join(logprobs.tokens).removeprefix("<s>").strip() == choice.text.strip()
            for token, offset in list(zip(logprobs.tokens, logprobs.text_offset, strict=True))[2:]:
                assert choice.text[offset : offset + len(token)] == token
        # The rest is what the same request says without echo.
        body = {**ASK, "prompt": one, "max_tokens": max_tokens, "logprobs": 2}
        plain = server.post("/v1/completions", body).body["choices"][0]["logprobs"]
        if max_tokens:
            assert logprobs.token_logprobs[n:] == plain["token_logprobs"]
            assert logprobs.text_offset[n] == len(choice.text) - len("".join(plain["tokens"]))
    streamed: dict[int, dict[str, list[Any]]] = {}
    for chunk in client.completions.create(**asking, stream=True):
        for part in chunk.choices:
            if part.logprobs is not None:
                into = streamed.setdefault(part.index, {"tokens": [], "token_logprobs": [], "text_offset": []})
                for name, values in into.items():
                    values += getattr(part.logprobs, name)
    for choice in choices:
        whole = choice.logprobs
        assert whole is not None
        assert streamed[choice.index] == {name: getattr(whole, name) for name in streamed[choice.index]}


def test_no_alternatives_are_shown_where_none_are_wanted(client: openai.OpenAI) -> None:
    logprobs = client.completions.create(**ASK, logprobs=0, echo=True).choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.token_logprobs or ()) == 5 + 8


def test_a_suffix_is_led_up_to(tmp_path: Path) -> None:
    for one in running("-m", str(fim_model(tmp_path)), "-c", "1024", "-np", "2"):
        gap = {"n_predict": 8, "temperature": 0, "input_suffix": "the end."}
        expected = [one.post("/infill", {**gap, "input_prefix": text}).body["content"] for text in ("Once", "Hey")]
        client = openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0)
        asking = {**ASK, "prompt": ["Once", "Hey"], "suffix": "the end."}
        assert [choice.text for choice in client.completions.create(**asking).choices] == expected
        assert texts(client.completions.create(**asking, stream=True)) == expected
        body = {"prompt": "Once", "suffix": "the end.", "options": {"temperature": 0, "num_predict": 8}}
        assert one.post("/api/generate", {**body, "stream": False}).body["response"] == expected[0]
        form = {**body, "format": {"enum": ["a", "b"]}, "stream": False}
        assert one.post("/api/generate", form).body["response"] in ('"a"', '"b"')


def test_prompts_run_side_by_side(server: Server) -> None:
    prompts = ["Once upon a time", "Hey", "One day", "The cat"] * 4
    body = {**ASK, "prompt": prompts, "max_tokens": 60, "ignore_eos": True}
    alone = [
        server.post("/v1/completions", {**body, "prompt": prompt}).body["choices"][0]["text"] for prompt in prompts[:4]
    ]
    slots = 0
    started = time.monotonic()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body).body))
    asking.start()
    while asking.is_alive() and time.monotonic() - started < 30:
        slots = max(slots, sum(slot["is_processing"] for slot in server.get("/slots").body))
    asking.join()
    assert [choice["text"] for choice in answers[0]["choices"]] == alone * 4
    assert slots == 2


def test_a_prompt_that_fails_fails_all(server: Server) -> None:
    assert_error(server.post("/v1/completions", {**ASK, "prompt": ["Hey", "ab " * 2000]}), 400)
    assert server.post("/v1/completions", ASK).status == 200


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"echo": True, "logprobs": 1, "suffix": "end"}, "echo", ["suffix", "logprobs"]),
        ({"echo": True, "logprobs": 2000}, "logprobs", ["2000", "1024"]),
        ({"echo": "yes"}, "echo", ["'yes'"]),
        ({"suffix": "end"}, "suffix", ["'end'", "not supported by this model"]),
        ({"logprobs": -1}, "logprobs", ["-1"]),
        ({"logprobs": "3"}, "logprobs", ["'3'"]),
        ({"best_of": 3}, "best_of", ["3"]),
    ],
)
def test_what_is_refused(server: Server, fields: dict[str, Any], param: str, words: list[str]) -> None:
    error = assert_error(server.post("/v1/completions", {**ASK, **fields}), 400, param)
    for word in words:
        assert word in error["message"]
