"""The table of limits: flags, help, and which fields of which requests it bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from rustllm._rustllm import InvalidRequestError, Tokenizer
from rustllm.config import EMBEDDED_MODEL, ServerSettings, UsageError, parse
from rustllm.flags.help import help_text
from rustllm.limits import TABLE, Limit, Limits
from rustllm.sampling_values import logit_bias_pairs
from rustllm.server.anthropic import schemas as anthropic
from rustllm.server.native.completion.schemas import CompletionRequest
from rustllm.server.native.embedding.schemas import EmbeddingRequest
from rustllm.server.native.infill.schemas import InfillRequest
from rustllm.server.native.rerank.schemas import RerankRequest
from rustllm.server.native.tokenize.schemas import ApplyTemplateRequest, TokenizeRequest
from rustllm.server.ollama import schemas as ollama
from rustllm.server.openai.chat.schemas import ChatRequest
from rustllm.server.openai.completions.schemas import OpenAICompletionRequest
from rustllm.server.openai.embeddings.schemas import EmbeddingsRequest
from rustllm.server.openai.responses.schemas import ResponsesRequest

REQUESTS: tuple[type[BaseModel], ...] = (
    *(ChatRequest, OpenAICompletionRequest, ResponsesRequest, EmbeddingsRequest, CompletionRequest, InfillRequest),
    *(EmbeddingRequest, RerankRequest, TokenizeRequest, ApplyTemplateRequest),
    *(anthropic.MessagesRequest, anthropic.CountTokensRequest),
    *(ollama.ChatRequest, ollama.GenerateRequest, ollama.EmbedRequest),
)
#: Fields that are bounded wherever there is one of that name; for others of the name, why not.
BOUNDED = ("n", "n_cmpl", "stop", "stop_sequences", "logit_bias", "n_probs", "top_logprobs", "prompt_logprobs", "tools",
           "grammar", "json_schema", "guided_json", "guided_grammar", "documents", "texts")  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_limit_has_a_flag(row: Limit) -> None:
    for value in (row.low, row.high):
        given = ServerSettings.from_arguments(parse([row.shown, str(value)], {}))
        assert given.limits[row.name] == value
        assert ServerSettings.from_arguments(parse([], {row.variable: str(value)})).limits[row.name] == value
    with pytest.raises(UsageError, match=f"from {row.low} to {row.high}"):
        parse([row.shown, str(row.high + 1)], {})
    assert row.low <= row.default <= row.high
    assert f"{row.shown} {row.metavar}" in help_text("x", {})
    assert ServerSettings().limits[row.name] == row.default


def fields() -> Iterator[tuple[str, Mapping[str, object], str]]:
    for schema in REQUESTS:
        for name in schema.model_fields:
            if name in BOUNDED:
                yield f"{schema.__module__}.{schema.__name__}.{name}", getattr(schema, "caps", {}), name


@pytest.mark.parametrize(("place", "caps", "name"), list(fields()), ids=[place for place, _, _ in fields()])
def test_each_field_that_can_be_too_much_is_bounded(place: str, caps: Mapping[str, object], name: str) -> None:
    # vLLM's /tokenize has tools and messages, but generates nothing.
    assert name in caps, place


def test_rows_that_schemas_name_are_there() -> None:
    names = {**{row.name: row for row in TABLE}, "documents": next(row for row in TABLE if row.name == "inputs")}
    for schema in REQUESTS:
        for rows in getattr(schema, "caps", {}).values():
            assert all(names[row].measure is not None for row in rows)


@pytest.mark.parametrize("value", [None, True, 5, "x", 1.5, [], {}, [None], {"function": 5}, [{"function": []}]])
def test_other_types_are_left_to_others(value: object) -> None:
    for schema in REQUESTS:
        caps = getattr(schema, "caps", {})
        tops = {path.split(".")[0].removesuffix("[]") for path in caps}
        Limits().check({name: value for name in tops}, caps)


def test_a_message_has_place_count_and_flag() -> None:
    caps = {"tools[].function.parameters": ("schema_depth",)}
    body = {"tools": [{}, {"function": {"parameters": {"a": [{}]}}}]}
    Limits({"schema_depth": 3}).check(body, caps)
    with pytest.raises(InvalidRequestError) as caught:
        Limits({"schema_depth": 2}).check(body, caps)
    place = "tools[1].function.parameters"
    assert str(caught.value) == f"{place}: it has 3 levels; allowed: up to 2 (--max-schema-depth)"
    assert caught.value.param == place


def test_the_page_has_each_limit_with_its_flag_and_default() -> None:
    page = (Path(__file__).parents[2] / "docs/limits.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip(" `") for cell in line.split("|")[1:4]) for line in page.splitlines() if line[:3] == "| `"]
    assert set(rows) == {(row.name, row.shown, str(row.default)) for row in TABLE}
    assert len(rows) == len(TABLE)


def test_a_server_s_limit_of_biases_is_the_only_one() -> None:
    given = Limits({"biases": 10_000})
    biases = [[1, 1.0]] * 5_000
    given.check({"logit_bias": biases}, CompletionRequest.caps)
    assert len(logit_bias_pairs(biases, Tokenizer.from_gguf(EMBEDDED_MODEL))) == 5_000
