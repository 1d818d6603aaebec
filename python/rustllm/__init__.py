"""rustllm runs and serves language models from GGUF files.

`LLM` and `AsyncLLM` run one in this process; `rustllm-serve` serves one over HTTP.
"""

from typing import TYPE_CHECKING, Any

from rustllm._rustllm import (
    ContextExceededError,
    EngineClosedError,
    InvalidRequestError,
    ModelError,
    QueueFullError,
    Tokenizer,
    UnsupportedError,
    __version__,
)

if TYPE_CHECKING:
    from rustllm.engine import GenerationError
    from rustllm.hub import HubError
    from rustllm.llm.async_llm import AsyncLLM, AsyncStream
    from rustllm.llm.dispatch import ForkedError
    from rustllm.llm.llm import LLM
    from rustllm.llm.results import (
        ChatDelta,
        Completion,
        CompletionOutput,
        Delta,
        Embedding,
        Ranked,
        Reply,
        Score,
        TokenLogprob,
        ToolCall,
        ToolCallDelta,
        Usage,
    )
    from rustllm.llm.sampling_params import SamplingParams
    from rustllm.llm.stream import Stream

#: Where the names are that are imported once they are asked for: a server starts without them.
_PLACES = {
    "AsyncLLM": "llm.async_llm",
    "AsyncStream": "llm.async_llm",
    "ChatDelta": "llm.results",
    "Completion": "llm.results",
    "CompletionOutput": "llm.results",
    "Delta": "llm.results",
    "Embedding": "llm.results",
    "ForkedError": "llm.dispatch",
    "GenerationError": "engine",
    "HubError": "hub",
    "LLM": "llm.llm",
    "Ranked": "llm.results",
    "Reply": "llm.results",
    "SamplingParams": "llm.sampling_params",
    "Score": "llm.results",
    "Stream": "llm.stream",
    "TokenLogprob": "llm.results",
    "ToolCall": "llm.results",
    "ToolCallDelta": "llm.results",
    "Usage": "llm.results",
}

__all__ = [
    "LLM",
    "AsyncLLM",
    "AsyncStream",
    "ChatDelta",
    "Completion",
    "CompletionOutput",
    "ContextExceededError",
    "Delta",
    "Embedding",
    "EngineClosedError",
    "ForkedError",
    "GenerationError",
    "HubError",
    "InvalidRequestError",
    "ModelError",
    "QueueFullError",
    "Ranked",
    "Reply",
    "SamplingParams",
    "Score",
    "Stream",
    "TokenLogprob",
    "Tokenizer",
    "ToolCall",
    "ToolCallDelta",
    "UnsupportedError",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'rustllm' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"rustllm.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
