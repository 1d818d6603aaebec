"""Commands that look into a model: `perplexity`, `tokenize`, `info`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rustllm.flags.command import engine_settings
from rustllm.logging import one_line

#: Longest value that `rustllm info` shows in its table.
SHOWN_CHARS = 200

#: Settings of the engine that `rustllm perplexity` has flags for, with what it takes without them.
ENGINE_DEFAULTS = {"n_batch": 2048, "n_threads": 0, "cache_type_k": "f16", "cache_type_v": "f16"}


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def measure_perplexity(options: argparse.Namespace) -> int:
    from rustllm.perplexity import perplexity

    text = options.file.read_text(encoding="utf-8")
    settings = engine_settings(options, ENGINE_DEFAULTS)
    result = perplexity(options.model, text, n_ctx=options.ctx_size, show=not options.json, **settings)
    if options.json:
        print_json(result.as_dict())
    else:
        chunks = f"{result.n_chunks} chunks of {options.ctx_size} tokens"
        print(f"perplexity {result.value:.4f} ± {result.error:.4f} over {chunks}")
    return 0


def tokenize(options: argparse.Namespace) -> int:
    from rustllm._rustllm import Tokenizer

    tokenizer = Tokenizer.from_gguf(options.model)
    text = sys.stdin.read() if options.text is None else options.text
    tokens = tokenizer.encode(text, add_special=not options.no_bos, parse_special=not options.no_parse_special)
    if options.json:
        print_json(tokens)
    else:
        for token in tokens:
            shown = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
            print(f"{token:8} {shown!r}")
    return 0


def info(options: argparse.Namespace) -> int:
    from rustllm._rustllm import read_gguf

    path = options.model if options.file is None else options.file
    found = read_gguf(path)
    metadata = found["metadata"]
    memory = _memory(metadata, found["size"])
    if options.json:
        print_json({**found, "memory": memory})
        return 0
    rows = [
        ("architecture", metadata.get("general.architecture", "none")),
        ("name", metadata.get("general.name", "none")),
        ("tensors", f"{found['n_tensors']:,} with {found['n_params']:,} parameters"),
        ("types", ", ".join(f"{name} x {count}" for name, count in found["types"].items())),
        ("weights", _mebibytes(found["size"])),
        *((f"cache, {int(n):,} tokens", f"{_mebibytes(size)} in f16") for n, size in memory["cache_f16"].items()),
        *((key, _shortened(value)) for key, value in sorted(metadata.items())),
    ]
    _show(str(path), [(one_line(name), one_line(str(value))) for name, value in rows])
    return 0


def _show(title: str, rows: list[tuple[str, str]]) -> None:
    if not sys.stdout.isatty():
        for name, value in rows:
            print(f"{name} = {value}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + "…"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _memory(metadata: dict[str, Any], weights: int) -> dict[str, Any]:
    """Bytes of the weights, and of a cache in f16 at some lengths up to the model's own."""
    arch = metadata.get("general.architecture")

    def of(key: str, default: Any = None) -> Any:
        value = metadata.get(f"{arch}.{key}", default)
        # Some families list a number for each layer.
        return max(value) if isinstance(value, list) and value else value

    layers, heads, width = of("block_count"), of("attention.head_count"), of("embedding_length")
    sizes: dict[str, int] = {}
    if all(isinstance(value, int) and value > 0 for value in (layers, heads, width)):
        head = width // heads
        row = of("attention.head_count_kv", heads) * (
            of("attention.key_length", head) + of("attention.value_length", head)
        )
        longest = of("context_length", 0)
        lengths = [n for n in (4096, 32768) if n < longest] + ([longest] if longest else [])
        sizes = {str(n): 2 * n * layers * row for n in lengths}
    return {"weights": weights, "cache_f16": sizes}
