"""`/infill`, with the embedded model and ids that stand in for a code model's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.server.native.completion.schemas import Completion
from tests.support.model_file import FIM, fim_model
from tests.support.server import Server, assert_error, running
from tests.support.strategies import BUDGET, JSON

BASE = {"input_prefix": "Once upon", "input_suffix": "the end.", "n_predict": 1, "temperature": 0}
#: For servers whose answers may be so long that the context has nothing left for further files.
NO_ROOM = ("-c", "512", "-np", "1", "-b", "64", "-n", "224")
FILES = [{"text": "Lily ran.", "filename": "a.txt"}, {"text": "Tom."}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = fim_model(tmp_path_factory.mktemp("fim"))
    yield from running("-m", str(model), "-c", "512", "-np", "1", "-b", "64")


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from running("-m", str(fim_model(tmp_path_factory.mktemp("fim"))), *NO_ROOM)


def tokens(server: Server, text: str) -> list[int]:
    return list(server.post("/tokenize", {"content": text, "parse_special": False}).body["tokens"])


def prompt_of(server: Server, ids: list[int]) -> str:
    return str(server.post("/detokenize", {"tokens": ids}).body["content"])


def checked(server: Server, request: dict[str, Any], ids: list[int], count: int) -> None:
    """`count` is the number of tokens that llama-server has for the request."""
    body = server.post("/infill", request).body
    Completion.model_validate(body, strict=True)
    assert len(ids) == body["tokens_evaluated"] == count
    assert body["prompt"] == prompt_of(server, ids)
    # The same ids as a plain prompt give the same answer.
    plain = server.post("/completion", {"prompt": ids, "n_predict": 1, "temperature": 0}).body
    assert body["content"] == plain["content"]


def around(server: Server, before: str, after: str) -> list[int]:
    parts = [FIM["fim_pre"], *tokens(server, before), FIM["fim_suf"], *tokens(server, after), FIM["fim_mid"]]
    return [1, *parts]


def extra(server: Server) -> list[int]:
    rep, sep = FIM["fim_rep"], FIM["fim_sep"]
    first = [rep, *tokens(server, "myproject\n"), sep, *tokens(server, "a.txt\n"), *tokens(server, "Lily ran.")]
    return [*first, sep, *tokens(server, "tmp\n"), *tokens(server, "Tom."), sep, *tokens(server, "filename\n")]


def test_the_order_of_the_parts(server: Server) -> None:
    whole = [*extra(server), *around(server, "Once upon", "the end.")]
    checked(server, {**BASE, "input_extra": FILES}, whole, 47)


def test_the_answer_goes_on_from_the_prompt(brief: Server) -> None:
    ids = [FIM["fim_pre"], *tokens(brief, "Once upon"), *tokens(brief, "a time"), FIM["fim_suf"]]
    body = brief.post("/infill", {**BASE, "prompt": "a time"}).body
    assert body["prompt"] == prompt_of(brief, [1, *ids, *tokens(brief, "the end."), FIM["fim_mid"]])
    assert body["tokens_evaluated"] == 12


@pytest.mark.parametrize("n_predict", [1, 224, -1])
def test_the_servers_limit_of_answers_decides_what_fits(server: Server, brief: Server, n_predict: int) -> None:
    request = {**BASE, "n_predict": n_predict, "input_extra": FILES, "stop": [" "]}
    counts = [one.post("/infill", request).body["tokens_evaluated"] for one in (server, brief)]
    assert counts == [47, len(around(brief, "Once upon", "the end."))]


def test_long_texts_are_cut_where_they_are_furthest_from_the_gap(server: Server) -> None:
    before, after = "Lily and Tom " * 30, "Tim sat. " * 20
    body = server.post("/infill", {**BASE, "input_prefix": before, "input_suffix": after, "prompt": "One day"}).body
    beginning = tokens(server, "One day")
    prefix = [FIM["fim_pre"], *tokens(server, before)[-48:], *beginning]
    suffix = [FIM["fim_suf"], *tokens(server, after)[: 16 - 2 - len(beginning)]]
    rep, sep = FIM["fim_rep"], FIM["fim_sep"]
    head = [rep, *tokens(server, "myproject\n"), sep, *tokens(server, "filename\n")]
    assert body["prompt"] == prompt_of(server, [*head, 1, *prefix, *suffix, FIM["fim_mid"]])
    assert body["tokens_evaluated"] == 84


def test_a_model_without_a_separator_gets_snippets(tmp_path: Path) -> None:
    model = fim_model(tmp_path, "fim_rep", "fim_sep")
    for one in running("-m", str(model), "-c", "512", "-np", "1", "-b", "64"):
        snippet = tokens(one, "\n\n--- snippet ---\n\n")
        files = [*snippet, *tokens(one, "Lily ran."), *snippet, *tokens(one, "Tom.")]
        checked(one, {**BASE, "input_extra": FILES}, [*files, *around(one, "Once upon", "the end.")], 51)


def test_the_suffix_goes_first_on_demand(tmp_path: Path) -> None:
    for one in running("-m", str(fim_model(tmp_path)), "-c", "512", "-np", "1", "-b", "64", "--spm-infill"):
        prefix = [FIM["fim_pre"], *tokens(one, "Once upon")]
        suffix = [FIM["fim_suf"], *tokens(one, "the end.")]
        checked(one, {**BASE, "input_extra": FILES}, [*extra(one), 1, *suffix, *prefix, FIM["fim_mid"]], 47)


def test_texts_and_ids_may_be_mixed_and_empty(brief: Server) -> None:
    body = brief.post("/infill", {**BASE, "input_prefix": [5, "x"]}).body
    ids = [1, FIM["fim_pre"], 5, *tokens(brief, "x"), FIM["fim_suf"], *tokens(brief, "the end."), FIM["fim_mid"]]
    assert body["prompt"] == prompt_of(brief, ids)
    empty = {**BASE, "input_prefix": "", "input_suffix": ""}
    assert brief.post("/infill", empty).body["tokens_evaluated"] == 4


def test_the_text_of_a_special_token_is_only_text(server: Server) -> None:
    body = server.post("/infill", {**BASE, "input_prefix": "<s>"}).body
    assert body["prompt"].count("<s>") == 2
    assert tokens(server, "<s>") != [1]


def test_a_stream_equals_the_whole(server: Server) -> None:
    request = {**BASE, "n_predict": 16}
    events = server.stream("/infill", request)
    assert "".join(event["content"] for event in events) == server.post("/infill", request).body["content"]


def test_a_model_without_the_tokens_is_501(tmp_path: Path) -> None:
    for without, name in (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle")):
        for one in running("-m", str(fim_model(tmp_path, without)), "-c", "256"):
            error = assert_error(one.post("/infill", BASE), 501)
            assert error["message"] == f"Infill is not supported by this model: {name} token is missing. "


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("input_prefix", value) for value in (5, None, {}, [[]], [1.5], [True], [512], [-1])),
        *(("input_suffix", value) for value in (5, None, {}, [None])),
        *(("input_extra", value) for value in (5, "x", {}, [5], ["x"], [{}], [{"filename": "a"}], [{"text": 5}])),
        ("input_extra", [{"text": "x", "filename": 5}]),
        *(("prompt", value) for value in (5, [], {}, True)),
        ("n_predict", "x"),
    ],
)
def test_fields_that_are_wrong(server: Server, field: str, value: object) -> None:
    error = assert_error(server.post("/infill", {**BASE, field: value}))
    assert error["message"].startswith(field)


def test_a_missing_side_is_named(server: Server) -> None:
    for field in ("input_prefix", "input_suffix"):
        body = {name: value for name, value in BASE.items() if name != field}
        assert_error(server.post("/infill", body), 400, field)


@given(
    body=st.fixed_dictionaries(
        {}, optional={"input_prefix": JSON, "input_suffix": JSON, "input_extra": JSON, "prompt": JSON}
    )
)
@BUDGET
def test_any_json_is_served_or_refused(server: Server, body: dict[str, Any]) -> None:
    answer = server.post("/infill", {"n_predict": 1, **body})
    assert answer.status in (200, 400), answer.body
