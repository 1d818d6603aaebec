"""The command line of `rustllm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rustllm.batch.command import add_flags as add_batch_flags
from rustllm.bench.command import add_flags as add_bench_flags
from rustllm.cli import asking, inspection
from rustllm.cli.ending import guarded
from rustllm.cli.server import version
from rustllm.config import EMBEDDED_MODEL
from rustllm.flags.command import add_engine_flags, add_server_flags
from rustllm.flags.parse import GROUPS

#: Shells that there are scripts for.
SHELLS = ("bash", "zsh", "fish")

ENDING = "exit status: 0 done, 1 a model, a file or a request is at fault, 2 the command line is, 130 interrupted"

Command = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """Runs the command that the arguments name; returns its exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    command: Command | None = options.command
    if command is None:
        import sys

        parser.print_help(sys.stderr)
        return 2
    return guarded("rustllm", lambda: command(options))


def make_parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    parser = argparse.ArgumentParser(
        prog="rustllm", description="Language models from GGUF files.", epilog=ENDING, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rustllm {version()}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a model over HTTP; see rustllm serve --help", add_help=False)
    # For completion alone: this command reads its arguments itself.
    add_server_flags(serve, GROUPS)
    _generating(commands)
    _models(commands)
    _inspecting(commands)

    text = "how fast a model runs on this machine, or a server answers many clients"
    bench = commands.add_parser("bench", help=text, description=text, allow_abbrev=False)
    add_bench_flags(bench)
    bench.set_defaults(command=_bench)

    completion = _command(commands, "completion", "a script that completes commands and flags in a shell", _completion)
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _command(commands: Any, name: str, text: str, run: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=run)
    return parser


def _generating(commands: Any) -> None:
    chat = _command(commands, "chat", "talk with a model in the terminal", _chat)
    chat.add_argument("--json", action="store_true", help="print each answer as a line of JSON")
    asking.add_flags(chat)

    one = _command(commands, "run", "answer one prompt", _run)
    one.add_argument("prompt", nargs="*", help="the prompt; what comes from a pipe is put behind it")
    one.add_argument("--raw", action="store_true", help="continue the prompt as text instead of answering it")
    one.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    asking.add_flags(one)

    text = "answer a file of requests, as OpenAI's batch API does; killed and started again, it goes on"
    add_batch_flags(_command(commands, "batch", text, _batch))


def _models(commands: Any) -> None:
    pull = _command(commands, "pull", "download a model from the Hugging Face hub", _pull)
    pull.add_argument("name", metavar="USER/REPO[:QUANT]", help="the repository, and which of its models")
    pull.add_argument("-hff", "--hf-file", metavar="FILE", help="the file, where the name does not say it")
    pull.add_argument("-hft", "--hf-token", metavar="TOKEN", help="for repositories that are not public")
    listed = _command(commands, "list", "the downloaded models", _list)
    removed = _command(commands, "rm", "remove downloaded models", _remove)
    removed.add_argument("names", nargs="+", metavar="NAME", help="names as `rustllm list` shows them")
    for parser in (pull, listed, removed):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _inspecting(commands: Any) -> None:
    perplexity = _command(commands, "perplexity", "how well a model predicts a text", inspection.measure_perplexity)
    perplexity.add_argument("-f", "--file", required=True, type=Path, help="the text, in UTF-8")
    perplexity.add_argument("-c", "--ctx-size", type=int, default=512, metavar="N", help="tokens of a chunk (512)")
    add_engine_flags(perplexity, inspection.ENGINE_DEFAULTS)

    tokenize = _command(commands, "tokenize", "the tokens of a text", inspection.tokenize)
    tokenize.add_argument("text", nargs="?", help="the text; without it standard input is read")
    tokenize.add_argument("--no-bos", action="store_true", help="leave out the tokens that the model adds at the ends")
    tokenize.add_argument("--no-parse-special", action="store_true", help="read special tokens as plain text")

    info = _command(commands, "info", "what is in a model file, and the memory that it needs", inspection.info)
    info.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the GGUF file, as with -m")
    for parser in (perplexity, tokenize, info):
        parser.add_argument("-m", "--model", type=Path, default=EMBEDDED_MODEL, metavar="FILE", help="the GGUF file")
        parser.add_argument("--json", action="store_true", help="print JSON")


# What a command needs is imported when it runs, since most of it is slow to import.


def _chat(options: argparse.Namespace) -> int:
    from rustllm.cli.chat import chat

    return chat(options)


def _run(options: argparse.Namespace) -> int:
    from rustllm.cli.run import answer

    return answer(options)


def _batch(options: argparse.Namespace) -> int:
    from rustllm.batch.command import run

    return run(options)


def _pull(options: argparse.Namespace) -> int:
    from rustllm.cli.models import pull

    return pull(options)


def _list(options: argparse.Namespace) -> int:
    from rustllm.cli.models import show_list

    return show_list(options)


def _remove(options: argparse.Namespace) -> int:
    from rustllm.cli.models import remove

    return remove(options)


def _bench(options: argparse.Namespace) -> int:
    from rustllm.bench.command import run

    return run(options)


def _completion(options: argparse.Namespace) -> int:
    if options.shell == "fish":
        from rustllm.cli.fish import script

        print(script(make_parser()))
        return 0
    import shtab

    print(shtab.complete(make_parser(), shell=options.shell))
    return 0
