"""What streams of the translated APIs say when the engine gives a request up."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from rustllm.server.anthropic import service as anthropic
from rustllm.server.anthropic.schemas import MessageError
from rustllm.server.errors import ApiError
from rustllm.server.ollama import service as ollama
from rustllm.server.ollama.schemas import OllamaError
from rustllm.server.openai.responses.schemas import ResponseEvent, ResponsesRequest
from rustllm.server.openai.responses.service import ResponseEvents

ERROR = ApiError(500, "the engine failed")


def parsed(event: bytes, name: str) -> Any:
    """The data of an event of this name."""
    first, data, *rest = event.decode().split("\n")
    assert (first, rest) == (f"event: {name}", ["", ""])
    return json.loads(data.removeprefix("data: "))


def test_anthropic() -> None:
    error = MessageError.model_validate(parsed(anthropic.failed(ERROR), "error"), strict=True)
    assert (error.error.type, error.error.message) == ("api_error", "the engine failed")


def test_ollama() -> None:
    line = ollama.failed(ERROR)
    assert line.endswith(b"}\n")
    assert OllamaError.model_validate(json.loads(line), strict=True).error == "the engine failed"


def test_responses() -> None:
    job = SimpleNamespace(plan=None, n_probs=0, kept=None, settings={"temperature": 0.5, "top_p": 1.0})
    events = ResponseEvents(
        cast(Any, SimpleNamespace(name="story")), ResponsesRequest.model_validate({"input": "x"}), cast(Any, job)
    )
    event = parsed(events.failed(ERROR), "response.failed")
    ResponseEvent.model_validate(event, strict=True)
    TypeAdapter(ResponseStreamEvent).validate_python(event, strict=True)
    assert event["response"]["error"] == {"code": "server_error", "message": "the engine failed"}
    assert parsed(events.failed(ERROR), "response.failed")["sequence_number"] == 1
