"""Flags of the server that other commands take as well: the same spellings, ranges and words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rustllm.flags.served import MODEL
from rustllm.flags.table import Flag


def add_engine_flags(parser: argparse.ArgumentParser, defaults: Mapping[str, Any]) -> None:
    """Declares the flags of the engine's settings that are the keys of `defaults`.

    The parsed value is found under the setting's name. Environment variables are the server's alone.
    """
    for flag in MODEL:
        if flag.target in defaults:
            default = defaults[flag.target]
            help = f"{flag.help} ({default})"
            parser.add_argument(
                *flag.names, dest=flag.target, type=reader(flag), default=default, metavar=flag.metavar, help=help
            )


def engine_settings(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The parsed settings as `Engine.load` takes them."""
    values = {name: getattr(options, name) for name in names}
    # 0 and -1 both mean all cores; the engine knows the first.
    if values.get("n_threads", 0) < 0:
        values["n_threads"] = 0
    return values


def reader(flag: Flag) -> Callable[[str], Any]:
    """What reads a flag's value for argparse."""

    def read(text: str) -> Any:
        try:
            return flag.kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not allowed; allowed: {flag.kind.allowed}") from None

    return read
