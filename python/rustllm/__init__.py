"""rustllm serves language models from GGUF files."""
