"""The commands `rustllm-serve` and `rustllm`.

Exit status: 0 done, 1 a model or file is at fault, 2 the command line is at fault, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rustllm.bench.command import add_flags as add_bench_flags
from rustllm.config import EMBEDDED_MODEL, Arguments, ServerSettings, UsageError, parse
from rustllm.flags.command import add_engine_flags, engine_settings
from rustllm.server.router_mode.link import Link

#: Longest value that `rustllm info` shows in its table.
SHOWN_CHARS = 200

#: Settings of the engine that `rustllm perplexity` has flags for, with what it takes without them.
ENGINE_DEFAULTS = {"n_batch": 2048, "n_threads": 0, "cache_type_k": "f16", "cache_type_v": "f16"}

BENCH = "how fast a model runs on this machine, or a server answers many clients"


def serve(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `rustllm-serve`."""
    return run_server(sys.argv[1:] if arguments is None else arguments, "rustllm-serve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `rustllm`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "serve":
        return run_server(arguments[1:], "rustllm serve")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    command: Callable[[argparse.Namespace], int] = options.command
    return _guarded("rustllm", lambda: command(options))


def run_server(arguments: Sequence[str], program: str) -> int:
    """Reads the flags and serves until told to stop."""
    return _guarded(program, lambda: _serve(arguments, program, os.environ))


def _serve(arguments: Sequence[str], program: str, environ: Mapping[str, str]) -> int:
    asked = parse(arguments, environ)
    if asked.values.get("help"):
        from rustllm.flags.help import help_text

        print(help_text(program, _defaults()))
        return 0
    if asked.values.get("version"):
        print(f"rustllm {_version()}")
        return 0
    link = Link.inherited(environ)
    try:
        return _start(asked, link)
    except (OSError, RuntimeError, ValueError) as error:
        if link is not None:
            link.report("failed", message=str(error))
        raise


def _start(asked: Arguments, link: Link | None) -> int:
    settings = ServerSettings.from_arguments(asked)
    _check_requests(settings, asked.sources)
    _set_up_log(settings)
    for warning in asked.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        if settings.routes:
            from rustllm.server.router_mode.app import run as run_router

            return run_router(settings, asked.line)
        if settings.models_dir or settings.models_preset:
            print("warning: one model is served, since -m or -hf names it; --models-… have no effect", file=sys.stderr)
        settings = _fetch(settings)
        if not settings.model_path.is_file():
            raise FileNotFoundError(f"{settings.model_path}: there is no such model file")
        from rustllm.server.app import run

        return run(settings, link)
    except SystemExit:
        # uvicorn's way to say that it could not start to listen; the log has the reason.
        raise RuntimeError(f"cannot listen on {settings.host}, port {settings.port}") from None


def _guarded(program: str, work: Callable[[], int]) -> int:
    """The exit status of `work`; whatever is the user's to mend becomes one line."""
    try:
        return work()
    except UsageError as error:
        return _fail(program, error, 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has left. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        return _fail(program, error, 1)


def _fail(program: str, error: Exception, status: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"{program}: error: {message}", file=sys.stderr)
    return status


def _defaults() -> dict[str, Any]:
    """The default of each setting by its name, for the help text."""
    settings = ServerSettings()
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def _version() -> str:
    from rustllm._rustllm import __version__

    return __version__


def _check_requests(settings: ServerSettings, sources: Mapping[str, str]) -> None:
    """Has the engine judge the defaults of requests, in its own words; `sources` are the flags."""
    from rustllm._rustllm import InvalidRequestError, SamplingParams, Watch

    try:
        SamplingParams(**settings.sampling_defaults)
        Watch(thought=("<think>", "</think>"), budget_message=settings.reasoning_budget_message)
    except InvalidRequestError as error:
        source = sources.get(f"sampling.{error.param}") or sources.get(f"reasoning_{error.param}")
        said = str(error).removeprefix(f"{error.param}: ")
        raise UsageError(str(error) if source is None else f"{source}: {said}") from None


def _set_up_log(settings: ServerSettings) -> None:
    from rustllm import logging

    try:
        logging.set_up(verbosity=settings.verbosity, file=settings.log_file, form=settings.log_format)
    except OSError as error:
        raise RuntimeError(f"--log-file: cannot write {settings.log_file}: {error.strerror or error}") from None


def _fetch(settings: ServerSettings) -> ServerSettings:
    """Downloads the model where a repository is named."""
    if settings.hf_repo is None:
        return settings
    from rustllm import hub

    path = hub.download(settings.hf_repo, file=settings.hf_file, token=settings.hf_token, offline=settings.offline)
    return dataclasses.replace(settings, model=path, aliases=settings.aliases or (settings.hf_repo,))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rustllm", description="Language models from GGUF files.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"rustllm {_version()}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("serve", help="serve a model over HTTP; see rustllm serve --help", add_help=False)

    perplexity = _command(commands, "perplexity", "how well a model predicts a text", _perplexity)
    perplexity.add_argument("-f", "--file", required=True, type=Path, help="the text, in UTF-8")
    perplexity.add_argument("-c", "--ctx-size", type=int, default=512, metavar="N", help="tokens of a chunk (512)")
    add_engine_flags(perplexity, ENGINE_DEFAULTS)

    tokenize = _command(commands, "tokenize", "the tokens of a text", _tokenize)
    tokenize.add_argument("text", nargs="?", help="the text; without it standard input is read")
    tokenize.add_argument("--no-bos", action="store_true", help="leave out the tokens that the model adds at the ends")
    tokenize.add_argument("--no-parse-special", action="store_true", help="read special tokens as plain text")

    bench = commands.add_parser("bench", help=BENCH, description=BENCH, allow_abbrev=False)
    add_bench_flags(bench)
    bench.set_defaults(command=_bench)

    _command(commands, "info", "what is in a model file", _info)
    return parser


def _command(commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument("-m", "--model", type=Path, default=EMBEDDED_MODEL, metavar="FILE", help="the GGUF file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=run)
    return parser


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))


def _perplexity(options: argparse.Namespace) -> int:
    from rustllm.perplexity import perplexity

    text = options.file.read_text(encoding="utf-8")
    settings = engine_settings(options, ENGINE_DEFAULTS)
    result = perplexity(options.model, text, n_ctx=options.ctx_size, show=not options.json, **settings)
    if options.json:
        _print_json(result.as_dict())
    else:
        chunks = f"{result.n_chunks} chunks of {options.ctx_size} tokens"
        print(f"perplexity {result.value:.4f} ± {result.error:.4f} over {chunks}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from rustllm.bench.command import run

    return run(options)


def _tokenize(options: argparse.Namespace) -> int:
    from rustllm._rustllm import Tokenizer

    tokenizer = Tokenizer.from_gguf(options.model)
    text = sys.stdin.read() if options.text is None else options.text
    tokens = tokenizer.encode(text, add_special=not options.no_bos, parse_special=not options.no_parse_special)
    if options.json:
        _print_json(tokens)
    else:
        for token in tokens:
            shown = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
            print(f"{token:8} {shown!r}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from rustllm._rustllm import read_gguf

    found = read_gguf(options.model)
    if options.json:
        _print_json(found)
        return 0
    print(f"{options.model}: {found['n_tensors']} tensors, {found['n_params']:,} parameters, {found['size']:,} bytes")
    print("types: " + ", ".join(f"{name} x {count}" for name, count in found["types"].items()))
    for key, value in sorted(found["metadata"].items()):
        shown = repr(value)
        print(f"{key} = {shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS] + '...'}")
    return 0
