"""What all requests have in common: a list is checked up to its first wrong entry, and has a cap or a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import rustllm.server.app
import rustllm.server.router_mode.app
from rustllm.server.errors import from_exception
from rustllm.server.native.completion.schemas import CompletionRequest
from rustllm.server.native.lora.schemas import LoraScales
from rustllm.server.parts import FromClient, Part
from rustllm.server.schema_docs import schema

APPS = (rustllm.server.app, rustllm.server.router_mode.app)

#: Lists without a cap of their own, by their path in any request, and why.
REASONS = {
    "messages[].content": "parts are looked at off the loop, and `--max-json-brackets` bounds them",
    "messages[].content[].content": "the same",
    "messages[].tool_calls": "calls are looked at off the loop, and `--max-json-brackets` bounds them",
    "messages[].images": "an image is refused, whatever it is",
    "input[].content": "parts are looked at off the loop, and `--max-json-brackets` bounds them",
    "input[].output": "the same",
    "prompt.multimodal_data": "an entry is refused, whatever it is",
    "prompt[].multimodal_data": "the same",
    "response_fields": "its validator has a cap of its own",
    "logit_bias[]": "it has two entries",
}
#: Lists that are entries of a list which is counted with them.
COUNTED_WITHIN = ("prompt[]", "content[]", "input[]")


def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in model.__subclasses__():
        yield one
        yield from below(one)


MODELS = sorted(set(below(FromClient)), key=lambda model: (model.__module__, model.__name__))
REQUESTS = [model for model in MODELS if not issubclass(model, Part)]
BY_NAME = {"ids": lambda model: f"{model.__module__}.{model.__name__}"}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All parts of a schema of pydantic's core."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from nodes(one)


def test_there_are_models() -> None:
    assert len(REQUESTS) > 20
    assert len(MODELS) > 40


@pytest.mark.parametrize("model", MODELS, **BY_NAME)
def test_each_list_is_checked_up_to_its_first_wrong_entry(model: type[BaseModel]) -> None:
    model.model_rebuild()
    for node in nodes(model.__pydantic_core_schema__):
        if node.get("type") in ("list", "dict", "set", "frozenset", "tuple"):
            assert node.get("fail_fast") is True, node


def lists(value: dict[str, Any], path: str) -> Iterator[str]:
    """The paths of what may have any number of entries that are looked at."""
    for kind in ("anyOf", "oneOf", "allOf"):
        for one in value.get(kind, ()):
            yield from lists(one, path)
    kinds = value.get("type")
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        yield path
        if isinstance(value.get("items"), dict):
            yield from lists(value["items"], f"{path}[]")
    if isinstance(value.get("additionalProperties"), dict):
        yield path
    for name, one in value.get("properties", {}).items():
        yield from lists(one, f"{path}.{name}".lstrip("."))


@pytest.mark.parametrize("model", REQUESTS, **BY_NAME)
def test_each_list_has_a_cap_or_a_reason(model: type[BaseModel]) -> None:
    caps = getattr(model, "caps", {})
    for path in lists(schema(model), ""):
        assert path in caps or path in REASONS or path in COUNTED_WITHIN, path


def test_each_reason_is_that_of_a_list() -> None:
    found = {path for model in REQUESTS for path in lists(schema(model), "")}
    assert set(REASONS) <= found
    assert set(COUNTED_WITHIN) <= found


@pytest.mark.parametrize(
    ("model", "value", "place"),
    [
        (CompletionRequest, {"prompt": "x", "stop_token_ids": [1, *[None] * 100]}, "stop_token_ids[1]"),
        (CompletionRequest, {"prompt": [1, *[None] * 100]}, "prompt[1]"),
        (CompletionRequest, {"prompt": "x", "logit_bias": [[1, 1], *[[None]] * 100]}, "logit_bias[1][0]"),
        (LoraScales, [{"id": 1, "scale": 1.0}, *[None] * 100], "[1]"),
    ],
)
def test_the_first_wrong_entry_is_named(model: type[BaseModel], value: Any, place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    # One for each thing that the field may be.
    assert caught.value.error_count() < 10
    assert from_exception(caught.value).param == place
