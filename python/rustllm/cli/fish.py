"""Completion for fish, which shtab has no script for: one `complete` line for each command and flag."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path


def script(parser: argparse.ArgumentParser) -> str:
    """The script that completes the commands of a parser and their flags."""
    lines = [f"# Completion of {parser.prog} for fish.", _line(parser.prog, "-f")]
    lines += [_flag(parser.prog, "__fish_use_subcommand", action) for action in _flags(parser)]
    for name, (text, command) in _commands(parser).items():
        lines.append(_line(parser.prog, "-n", "__fish_use_subcommand", "-a", name, "-d", text))
        chosen = f"__fish_seen_subcommand_from {name}"
        lines += [_flag(parser.prog, chosen, action) for action in _flags(command)]
        for action in command._get_positional_actions():
            if action.choices is not None:
                lines.append(_line(parser.prog, "-n", chosen, "-a", " ".join(action.choices)))
            elif action.type is Path:
                lines.append(_line(parser.prog, "-n", chosen, "-F"))
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """The commands with what they do, by name."""
    found: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found |= {name: (texts.get(name, ""), command) for name, command in action.choices.items()}
    return found


def _flags(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS)


def _flag(program: str, condition: str, action: argparse.Action) -> str:
    words = ["-n", condition]
    for name in action.option_strings:
        kind = "-l" if name.startswith("--") else "-s" if len(name) == 2 else "-o"
        words += [kind, name.lstrip("-")]
    if action.choices is not None:
        words += ["-x", "-a", " ".join(action.choices)]
    elif action.nargs not in (0, "?"):
        # A value must follow. It may be a file; fish has no other way to say that it may be anything.
        words += ["-r", "-F"]
    if action.help:
        words += ["-d", action.help.replace("%%", "%").split(". ")[0].rstrip(".")]
    return _line(program, *words)


def _line(program: str, *words: str) -> str:
    return " ".join(["complete", "-c", program, *map(_quoted, words)])


def _quoted(word: str) -> str:
    if shlex.quote(word) == word:
        return word
    # Between single quotes fish knows two escapes, and a shell's way to quote is none of them.
    return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"
