"""rustllm serves language models from GGUF files."""

from rustllm._rustllm import (
    ContextExceededError,
    EngineClosedError,
    InvalidRequestError,
    ModelError,
    QueueFullError,
    SamplingParams,
    Tokenizer,
    __version__,
)

__all__ = [
    "ContextExceededError",
    "EngineClosedError",
    "InvalidRequestError",
    "ModelError",
    "QueueFullError",
    "SamplingParams",
    "Tokenizer",
    "__version__",
]
