"""What is no text is refused clearly, by every API in its own shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from rustllm.server.answers import Error
from rustllm.server.anthropic.schemas import MessageError
from rustllm.server.ollama.schemas import OllamaError
from tests.support.server import Server, running

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERg=="}}
TEXT = {"type": "text", "text": "What is this?"}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
MEDIA = {"prompt_string": "x", "multimodal_data": ["aGk="]}
PAPER = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}


SEEN = {"role": "user", "content": "x", "images": [PIXEL]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "--embeddings", "--pooling", "mean")


def turn(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def result(*parts: Any) -> dict[str, Any]:
    """A chat of Anthropic's whose tool answers with these parts."""
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": list(parts)}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [call]}]
    return {"messages": [*turns, {"role": "user", "content": [answer]}], "max_tokens": 2}


def said(part: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}, part]}]}


CHATS = ("/v1/chat/completions", "/chat/completions", "/v1/chat/completions/input_tokens", "/apply-template")
ROWS: list[tuple[str, dict[str, Any], type[BaseModel], str, str]] = [
    *((path, turn(TEXT, IMAGE), Error, "messages[0].content[1].type", "images are not supported") for path in CHATS),
    ("/v1/chat/completions", turn(SOUND), Error, "messages[0].content[0].type", "sounds are not supported"),
    ("/v1/chat/completions", turn(FILE), Error, "messages[0].content[0].type", "files are not supported"),
    ("/tokenize", turn(IMAGE), Error, "messages[0].content[0].type", "images are"),
    ("/v1/responses", said({"type": "input_image", "image_url": "x"}), Error, "input[0].content[1].type", "images are"),
    ("/v1/responses", said({"type": "input_file", "file_id": "x"}), Error, "input[0].content[1].type", "files are"),
    ("/v1/responses", said({"type": "input_audio"}), Error, "input[0].content[1].type", "sounds are"),
    ("/v1/responses/input_tokens", said({"type": "input_image"}), Error, "input[0].content[1].type", "images are"),
    ("/completion", {"prompt": MEDIA}, Error, "prompt.multimodal_data", "images"),
    ("/v1/completions", {"prompt": MEDIA}, Error, "prompt.multimodal_data", "images"),
    ("/v1/embeddings", {"input": MEDIA}, Error, "input.multimodal_data", "images"),
    ("/v1/embeddings", {"input": [{"content": [TEXT, IMAGE]}]}, Error, "input.content[1].type", "images are"),
    ("/v1/messages", {**turn(TEXT, PICTURE), "max_tokens": 2}, MessageError, "messages[0].content[1].type", "images"),
    ("/v1/messages/count_tokens", turn(PICTURE), MessageError, "messages[0].content[0].type", "images are"),
    ("/v1/messages", {**turn(PAPER), "max_tokens": 2}, MessageError, "messages[0].content[0].source.type", "'base64'"),
    ("/v1/messages", result(PICTURE), MessageError, "messages[2].content[0].content[0].type", "images are"),
    ("/api/chat", {"messages": [SEEN]}, OllamaError, "messages[0].images", "images are"),
    ("/api/generate", {"prompt": "x", "images": [PIXEL]}, OllamaError, "images", "images are"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "shape", "param", "words"), ROWS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("stream", [False, True])
def test_it_is_refused(
    server: Server, path: str, body: dict[str, Any], shape: type[BaseModel], param: str, words: str, stream: bool
) -> None:
    answer = server.post(path, {**body, "stream": stream})
    assert answer.status == 400, answer.body
    shape.model_validate(answer.body, strict=True)
    error = answer.body["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith(f"{param}: ")
    assert words in message
    assert "supported" in message


def test_sound_to_be_written_down(server: Server) -> None:
    for path in ("/v1/audio/transcriptions", "/audio/transcriptions"):
        answer = server.client.post(path, files={"file": ("a.wav", b"RIFF", "audio/wav")}, data={"model": "x"})
        assert answer.status_code == 501
        Error.model_validate(answer.json(), strict=True)
        assert "sounds are not supported" in answer.json()["error"]["message"]


def test_the_clients_raise_their_errors(server: Server) -> None:
    asked = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="images are not supported by this model"):
        asked.chat.completions.create(model="x", messages=turn(TEXT, IMAGE)["messages"])
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    with pytest.raises(anthropic.BadRequestError, match="images are not supported by this model"):
        client.messages.create(model="x", max_tokens=2, messages=turn(PICTURE)["messages"])


def test_the_properties_say_so(server: Server) -> None:
    assert server.get("/props").body["modalities"] == {"vision": False, "audio": False, "video": False}
    assert server.get("/v1/models").body["data"][0]["architecture"]["input_modalities"] == ["text"]


def test_parts_of_text_are_texts(server: Server) -> None:
    """llama-server's form for inputs with media, without any."""
    plain = server.post("/v1/embeddings", {"input": ["What is this?", "ab"]}).body["data"]
    parts = [{"content": [TEXT]}, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert server.post("/v1/embeddings", {"input": parts}).body["data"] == plain
