"""Vectors of texts: what the embedding and rerank endpoints have in common."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from rustllm._rustllm import ContextExceededError, InvalidRequestError, Output
from rustllm.chat.media import unsupported
from rustllm.invalid import shown
from rustllm.measures import size
from rustllm.server.accounts import current
from rustllm.server.answers import Shape
from rustllm.server.errors import ApiError, from_exception
from rustllm.server.fair_queue import turn_in
from rustllm.server.state import INLINE_CHARS, Model, ServerState

#: What bounds the texts of a request.
INPUT = ("inputs", "token_ids")

#: The types of an input: a text, an object with one, token ids or both mixed; or a list of these.
Input = str | dict[str, Any] | list[int | str] | list[str | dict[str, Any] | list[int | str]]


class TokenUsage(Shape):
    """What texts cost."""

    prompt_tokens: int = Field(description="Tokens of all texts.")
    total_tokens: int = Field(description="The same: nothing is generated.")


@dataclass(frozen=True)
class Embedded:
    """What became of one text."""

    n_tokens: int
    #: One vector of little-endian f32, or one for each token without pooling.
    vectors: list[bytes]

    def floats(self) -> list[list[float]]:
        """The vectors as numbers."""
        return [array("f", vector).tolist() for vector in self.vectors]


def require_embeddings(state: ServerState, model: Model) -> None:
    """501 where embeddings were not asked for and the model could do something else."""
    settings = state.settings
    if not (settings.embeddings or settings.reranking) and model.native.info["generates"]:
        raise ApiError(501, "This server does not support embeddings. Start it with `--embeddings`")


def require_ranks(state: ServerState, model: Model) -> None:
    """501 where vectors do not become scores."""
    settings = state.settings
    on = settings.embeddings or settings.reranking or not model.native.info["generates"]
    if not on or model.native.pooling != "rank":
        raise ApiError(501, "This server does not support reranking. Start it with `--reranking`")


def split_inputs(value: Input, param: str) -> list[str | list[int | str]]:
    """The texts of a request: a list with a token id in it is one, any other list is several."""
    several = isinstance(value, list) and not any(isinstance(item, int) for item in value)
    items: list[Any] = value if several and isinstance(value, list) else [value]
    if not items:
        raise ApiError(400, f"{param}: it is empty; at least one text is needed", param=param)
    return [_plain(item, param) for item in items]


def _plain(item: Any, param: str) -> str | list[int | str]:
    """The text of an object, which is llama-server's form for inputs with media."""
    if not isinstance(item, dict):
        return item  # type: ignore[no-any-return]
    if item.get("multimodal_data"):
        message = f"{param}.multimodal_data: images, sound and video are not supported yet"
        raise ApiError(400, message, param=f"{param}.multimodal_data")
    if isinstance(item.get("content"), list):
        return "".join(_text(part, f"{param}.content[{index}]") for index, part in enumerate(item["content"]))
    text = item.get("prompt_string")
    if not isinstance(text, str):
        message = f"{param}.prompt_string: {shown(text)} is not a text"
        raise ApiError(400, message, param=f"{param}.prompt_string")
    return text


def _text(part: Any, place: str) -> str:
    """The text of a part of a chat's content."""
    kind = part.get("type") if isinstance(part, dict) else part
    if not isinstance(part, dict) or kind != "text":
        raise ApiError(400, f"{place}.type: {unsupported(kind)}; supported: 'text'", param=f"{place}.type")
    text = part.get("text")
    if not isinstance(text, str):
        raise ApiError(400, f"{place}.text: {shown(text)} is not a text", param=f"{place}.text")
    return text


def tokenize(model: Model, text: str | list[int | str], param: str) -> list[int]:
    """Token ids of one text; only the first text of a mixed one gets the special tokens of its ends."""
    tokenizer = model.native.tokenizer
    check_length(model, [text] if isinstance(text, str) else [item for item in text if isinstance(item, str)], param)
    if isinstance(text, str):
        return tokenizer.encode(text, add_special=True, parse_special=True)
    tokens: list[int] = []
    for index, item in enumerate(text):
        if isinstance(item, str):
            tokens += tokenizer.encode(item, add_special=index == 0, parse_special=True)
        elif 0 <= item < tokenizer.vocab_size:
            tokens.append(item)
        else:
            allowed = f"0 to {tokenizer.vocab_size - 1}"
            raise ApiError(400, f"{param}: {item} is not a token id; allowed: {allowed}", param=param)
    return tokens


def check_length(model: Model, texts: list[str], param: str) -> None:
    """Refuses texts that are certainly too long together, before their tokens are made."""
    try:
        model.native.check_texts(texts)
    except ContextExceededError as error:
        raise _renamed(error, param, single=True) from None


async def tokenize_inputs(state: ServerState, model: Model, value: Input, param: str) -> list[list[int]]:
    """Token ids of each text of a request."""

    def work() -> list[list[int]]:
        return [tokenize(model, text, param) for text in split_inputs(value, param)]

    return await state.off_loop(size(value, INLINE_CHARS), work)


async def embed(
    state: ServerState,
    model: Model,
    inputs: list[list[int]],
    param: str,
    *,
    normalize: int = 2,
    dimensions: int | None = None,
) -> list[Embedded]:
    """The vectors of `inputs`, in their order; leaving early aborts them. `param` is the request's field."""
    results: list[Embedded | None] = [None] * len(inputs)

    def take(output: Output) -> None:
        results[output.index] = Embedded(len(inputs[output.index]), output.vectors)

    try:
        options: dict[str, Any] = {"normalize": normalize, "dimensions": dimensions, "lora": state.lora}
        async with _turn(model, inputs):
            with model.engine.embed(inputs, take, **options) as running:
                await running.ended
    except InvalidRequestError as error:
        raise _renamed(error, param, single=len(inputs) == 1) from None
    return [result for result in results if result is not None]


@asynccontextmanager
async def _turn(model: Model, inputs: list[list[int]]) -> AsyncIterator[None]:
    """Waits for the turn of the key that asks, and counts its tokens."""
    account = current.get()
    if account is None:
        yield
        return
    with account.spending(sum(map(len, inputs)), 0) as spent:
        async with turn_in(model.embedding_turns, account, len(inputs)):
            spent.begin()
            yield


def _renamed(error: InvalidRequestError, param: str, *, single: bool) -> ApiError:
    """The engine calls every text `input[index]`."""
    found = from_exception(error)
    if isinstance(error, ContextExceededError):
        found.param = param
        return found
    if not error.param.startswith("input"):
        return found
    name = param if single else error.param.replace("input", param, 1)
    return ApiError(400, name + str(error).removeprefix(error.param), param=name)
