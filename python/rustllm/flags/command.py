"""Flags of the server that other commands take as well: the same spellings, ranges and words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rustllm.flags.kinds import Switch
from rustllm.flags.parse import FLAGS, GROUPS
from rustllm.flags.served import MODEL
from rustllm.flags.table import AnyFlag, Flag


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


def add_server_flags(parser: argparse.ArgumentParser, titles: Iterable[str], hidden: Iterable[str] = ()) -> None:
    """Declares the server's flags of these groups of its help, `hidden` settings without help, and whatever the
    server passes over or refuses.

    They are found in `options.server` as they were given: `flags.parse` reads them, with the server's words.
    """
    parser.set_defaults(server=[])
    for title in titles:
        group = parser.add_argument_group(title)
        for flag in GROUPS[title]:
            _collect(group, flag, flag.help)
    hidden = frozenset(hidden)
    for other in FLAGS:
        if not isinstance(other, Flag) or other.target in hidden:
            _collect(parser, other, None)


def _collect(group: argparse._ActionsContainer, flag: AnyFlag, help: str | None) -> None:
    names: tuple[str, ...] = flag.names
    values: int | str
    metavar = None
    if isinstance(flag, Flag):
        names = (*flag.names, *flag.off_names)
        optional = flag.metavar.startswith("[")
        values = 0 if isinstance(flag.kind, Switch) else "?" if optional else 1
        # argparse puts its own brackets around what may be missing.
        metavar = (flag.metavar[1:-1] if optional else flag.metavar) or None
    else:
        values = flag.values
    shown = argparse.SUPPRESS if help is None else help.replace("%", "%%")
    group.add_argument(*names, action=_Collect, nargs=values, metavar=metavar, help=shown)


class _Collect(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, "server", default=argparse.SUPPRESS, **more)

    def __call__(self, parser: object, options: argparse.Namespace, values: Any, name: str | None = None) -> None:
        given = values if isinstance(values, list) else [] if values is None else [values]
        options.server = [*options.server, name, *given]


def reader(flag: Flag) -> Callable[[str], Any]:
    """What reads a flag's value for argparse."""

    def read(text: str) -> Any:
        try:
            return flag.kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not allowed; allowed: {flag.kind.allowed}") from None

    return read
