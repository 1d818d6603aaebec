"""The commands `rustllm-serve` and `rustllm`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rustllm.config import EMBEDDED_MODEL, ServerSettings, SettingsError, parse_settings


def serve(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `rustllm-serve`."""
    sys.exit(run_server(sys.argv[1:] if arguments is None else arguments, "rustllm-serve"))


def run_server(arguments: Sequence[str], prog: str) -> int:
    """Parses flags and serves; 2 for wrong flags, 1 for a model that cannot be loaded."""
    try:
        settings = parse_settings(arguments, prog=prog)
    except SettingsError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        settings = _fetch(settings)
        from rustllm import logging

        logging.set_up(verbose=settings.verbose, file=settings.log_file, form=settings.log_format)
    except (OSError, RuntimeError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    from rustllm.server.app import run

    return run(settings)


def _fetch(settings: ServerSettings) -> ServerSettings:
    """Downloads the model where a repository is named."""
    if settings.hf_repo is None or settings.model is not None:
        return settings
    from dataclasses import replace

    from rustllm import hub

    path = hub.download(settings.hf_repo, file=settings.hf_file, token=settings.hf_token, offline=settings.offline)
    return replace(settings, model=path, alias=settings.alias or settings.hf_repo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `rustllm`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit status."""
    if arguments and arguments[0] == "serve":
        return run_server(arguments[1:], "rustllm serve")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        result: int = options.command(options)
        return result
    except (OSError, RuntimeError, ValueError) as error:
        print(f"rustllm: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    from rustllm._rustllm import __version__

    parser = argparse.ArgumentParser(prog="rustllm", description="Language models from GGUF files.")
    parser.add_argument("--version", action="version", version=f"rustllm {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands")
    commands.add_parser("serve", help="serve a model over HTTP (rustllm serve --help)")

    perplexity = commands.add_parser("perplexity", help="how well a model predicts a text")
    _common(perplexity)
    perplexity.add_argument("-f", "--file", required=True, type=Path, help="UTF-8 text")
    perplexity.add_argument("-c", "--ctx-size", type=int, default=512, help="tokens of a chunk (default: 512)")
    perplexity.add_argument("-t", "--threads", type=int, default=0, help="compute threads; 0: all cores")
    perplexity.set_defaults(command=_perplexity)

    tokenize = commands.add_parser("tokenize", help="the tokens of a text")
    _common(tokenize)
    tokenize.add_argument("text", nargs="?", help="the text; without it standard input is read")
    tokenize.set_defaults(command=_tokenize)

    info = commands.add_parser("info", help="what is in a model file")
    _common(info)
    info.set_defaults(command=_info)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--model", default=str(EMBEDDED_MODEL), help="GGUF file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _perplexity(options: argparse.Namespace) -> int:
    from rustllm.perplexity import perplexity

    text = options.file.read_text(encoding="utf-8")
    result = perplexity(options.model, text, n_ctx=options.ctx_size, n_threads=options.threads, show=not options.json)
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        print(
            f"perplexity {result.value:.4f} ± {result.error:.4f} over {result.n_chunks} chunks of {options.ctx_size} tokens"
        )
    return 0


def _tokenize(options: argparse.Namespace) -> int:
    from rustllm._rustllm import Tokenizer

    tokenizer = Tokenizer.from_gguf(options.model)
    tokens = tokenizer.encode(sys.stdin.read() if options.text is None else options.text)
    if options.json:
        print(json.dumps(tokens))
    else:
        for token in tokens:
            print(f"{token:8} {tokenizer.token_bytes(token)!r}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from rustllm._rustllm import Engine

    engine = Engine.load(options.model, n_ctx=32)
    rows: dict[str, Any] = {**engine.info, **engine.metadata}
    if options.json:
        print(json.dumps(rows))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("key", "value")
    for key in sorted(rows):
        text = str(rows[key])
        table.add_row(key, text if len(text) <= 200 else text[:200] + "…")
    Console().print(table)
    return 0
