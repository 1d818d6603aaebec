"""The help text, made from the tables."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from rustllm.flags.ignored import IGNORED
from rustllm.flags.parse import GROUPS
from rustllm.flags.refused import REFUSED
from rustllm.flags.table import Flag

#: Column at which the descriptions start.
INDENT = 30


def help_text(program: str, defaults: Mapping[str, Any]) -> str:
    """The flags by group; `defaults` has the default of each setting by its name."""
    width = max(60, min(120, shutil.get_terminal_size().columns))
    lines = [
        f"usage: {program} [-m FILE.gguf | -hf USER/REPO[:QUANT]] [flags]",
        "",
        "Serves a language model over HTTP, with llama-server's flags and endpoints.",
        "A flag wins over its environment variable.",
    ]
    for title, flags in GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in flags:
            lines += _entry(flag, defaults, width)
    for title, names in (
        ("Accepted without effect", [flag.names[-1] for flag in IGNORED]),
        ("Refused, since answers would differ", [flag.names[-1] for flag in REFUSED]),
    ):
        lines += ["", f"{title}:"]
        lines += textwrap.wrap(
            " ".join(sorted(names)), width - 2, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join(lines)


def _entry(flag: Flag, defaults: Mapping[str, Any], width: int) -> list[str]:
    names = ", ".join((*flag.names, *flag.off_names)) + (f" {flag.metavar}" if flag.metavar else "")
    notes = [f"default: {shown}"] if (shown := _default(flag, defaults)) else []
    notes += [f"env: {', '.join(flag.envs)}"] if flag.envs else []
    text = flag.help + (f" ({'; '.join(notes)})" if notes else "")
    body = textwrap.wrap(text, max(20, width - INDENT), break_on_hyphens=False)
    head = f"  {names}"
    if len(head) <= INDENT - 2:
        return [head.ljust(INDENT) + body[0], *(" " * INDENT + line for line in body[1:])]
    return [head, *(" " * INDENT + line for line in body)]


def _default(flag: Flag, defaults: Mapping[str, Any]) -> str:
    value = defaults.get(flag.target)
    if flag.default or value is None:
        return flag.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list | dict | str) and not value:
        return "none"
    return str(value)
