"""From a command line and an environment to values by target. The command line wins."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rustllm.flags.ignored import IGNORED
from rustllm.flags.kinds import FALSY, TRUTHY, Choice, Switch, Words
from rustllm.flags.limited import LIMITS
from rustllm.flags.refused import REFUSED
from rustllm.flags.sampling import SAMPLING
from rustllm.flags.served import CHAT, EMBEDDING, GENERAL, LOGGING, MODEL, ROUTER, SERVER
from rustllm.flags.table import AnyFlag, Flag, Ignored, Refused

#: The flags that do something, by the titles of the help text.
GROUPS: dict[str, tuple[Flag, ...]] = {
    "General": GENERAL,
    "Model and engine": MODEL,
    "Several models": ROUTER,
    "Embeddings": EMBEDDING,
    "Chat": CHAT,
    "Server": SERVER,
    "Limits": LIMITS,
    "Log": LOGGING,
    "Defaults of requests": SAMPLING,
}

FLAGS: tuple[AnyFlag, ...] = (*(flag for group in GROUPS.values() for flag in group), *IGNORED, *REFUSED)


#: Settings that say the same in two ways: one on the command line hides the others' variables.
EXCLUSIVE = (
    frozenset({"model", "hf_repo"}),
    frozenset({"chat_template", "chat_template_file"}),
    frozenset({"log_format", "log_jsonl"}),
    frozenset({"ui_settings", "ui_settings_file"}),
    frozenset({"verbose", "verbosity", "log_disable"}),
)


class UsageError(ValueError):
    """The command line or the environment asks for something that is not allowed."""


@dataclass
class Arguments:
    """What was asked for."""

    #: By `Flag.target`; only what was given.
    values: dict[str, Any] = field(default_factory=dict)
    #: Where each value comes from, such as `--temp 0.5` or `LLAMA_ARG_PORT=80`, for messages.
    sources: dict[str, str] = field(default_factory=dict)
    #: One line for each flag without effect.
    warnings: list[str] = field(default_factory=list)
    #: The arguments of the command line by their flags, for processes that are to be started alike.
    line: list[tuple[AnyFlag, list[str]]] = field(default_factory=list, compare=False)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Arguments:
    """Reads `argv` (without the program's name) over `environ`. Raises UsageError."""
    line = _CommandLine(argv)
    line.read()
    shell = Arguments()
    for flag in FLAGS:
        _read_environment(flag, environ, line, shell)
    warnings = list(dict.fromkeys(line.out.warnings + shell.warnings))
    values, sources = {**shell.values, **line.out.values}, {**shell.sources, **line.out.sources}
    return Arguments(values, sources, warnings, line.out.line)


class _CommandLine:
    """One pass over the arguments."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self.position = 0
        self.out = Arguments()
        self.index = by_name()
        self.given: set[AnyFlag] = set()

    def read(self) -> None:
        while self.position < len(self.argv):
            start = self.position
            argument = self.argv[start]
            self.position += 1
            name, inline = _split(argument)
            found = self.index.get(name)
            if found is None:
                raise UsageError(_unknown(argument, name, self.index))
            self._take(found, name, inline)
            self.out.line.append((found, self.argv[start : self.position]))

    def _take(self, flag: AnyFlag, name: str, inline: str | None) -> None:
        self.given.add(flag)
        if isinstance(flag, Flag):
            first = self.position
            _store(self.out, flag, self._value(flag, name, inline))
            given = self.argv[first : self.position] if inline is None else [inline]
            self.out.sources[flag.target] = " ".join([name, *map(_shown, given)])
            return
        values = self._skip(flag, name, inline)
        if isinstance(flag, Ignored):
            self.out.warnings.append(f"{name} has no effect: {flag.why}")
        elif not (values and values[0] in flag.harmless):
            raise UsageError(f"{name} is refused: {flag.why}")

    def _value(self, flag: Flag, name: str, inline: str | None) -> Any:
        if isinstance(flag.kind, Switch):
            if inline is not None:
                return _read(flag, name, inline)
            return name not in flag.off_names
        if inline is None and flag.metavar.startswith("["):
            # The value may be missing; the next argument is it only if it is one of the words.
            kind = flag.kind
            if not isinstance(kind, Choice) or self._peek() not in kind.words:
                return "on"
        return _read(flag, name, self._next(name) if inline is None else inline)

    def _skip(self, flag: Ignored | Refused, name: str, inline: str | None) -> list[str]:
        if inline is not None:
            return [inline]
        if flag.values == "?":
            following = self._peek()
            return [] if following is None or following.startswith("-") else [self._next(name)]
        return [self._next(name) for _ in range(int(flag.values))]

    def _peek(self) -> str | None:
        return self.argv[self.position] if self.position < len(self.argv) else None

    def _next(self, name: str) -> str:
        value = self._peek()
        if value is None:
            raise UsageError(f"{name}: a value is missing")
        self.position += 1
        return value


def by_name() -> dict[str, AnyFlag]:
    """The flags by all their spellings."""
    index: dict[str, AnyFlag] = {}
    for flag in FLAGS:
        names = (*flag.names, *flag.off_names) if isinstance(flag, Flag) else flag.names
        index.update(dict.fromkeys(names, flag))
    return index


def _split(argument: str) -> tuple[str, str | None]:
    """Name and value of "--name=value"; underscores in a long name count as dashes."""
    if not argument.startswith("--"):
        return argument, None
    name, equals, value = argument.partition("=")
    return name.replace("_", "-"), value if equals else None


def _unknown(argument: str, name: str, index: Mapping[str, AnyFlag]) -> str:
    if not argument.startswith("-"):
        return f"{argument!r} is not a flag; name a model file with -m"
    near = difflib.get_close_matches(name, index, n=5, cutoff=0.5)
    if not near:
        return f"unknown flag {name!r}; see --help"

    def likeness(other: str) -> tuple[float, bool]:
        # Of two equally near names, the one that does something is meant.
        return difflib.SequenceMatcher(None, other, name).ratio(), isinstance(index[other], Flag)

    return f"unknown flag {name!r}; did you mean {max(near, key=likeness)}?"


def _read(flag: Flag, name: str, text: str) -> Any:
    try:
        return flag.kind.read(text)
    except ValueError:
        raise UsageError(f"{name}: {_shown(text)!r} is not allowed; allowed: {flag.kind.allowed}") from None


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "..."


def _store(out: Arguments, flag: Flag, value: Any) -> None:
    if not flag.repeats:
        out.values[flag.target] = value
    elif isinstance(flag.kind, Words):
        out.values[flag.target] = (*out.values.get(flag.target, ()), *value)
    else:
        out.values[flag.target] = (*out.values.get(flag.target, ()), value)


def _read_environment(flag: AnyFlag, environ: Mapping[str, str], line: _CommandLine, out: Arguments) -> None:
    """Takes the flag's environment variable, unless the command line has the flag. An empty variable
    counts as unset, as compose files leave them."""
    if flag.env is None or flag in line.given:
        return
    if isinstance(flag, Flag):
        _read_variables(flag, environ, line, out)
        return
    text = environ.get(flag.env, "")
    if not text or (flag.values == 0 and text.lower() in FALSY):
        return
    if isinstance(flag, Ignored):
        out.warnings.append(f"{flag.env} has no effect: {flag.why}")
    elif text not in flag.harmless:
        if flag.values == 0 and text.lower() not in TRUTHY:
            raise UsageError(f"{flag.env}: {text!r} is not allowed; allowed: {Switch().allowed}")
        raise UsageError(f"{flag.env} is refused: {flag.why}")


def _read_variables(flag: Flag, environ: Mapping[str, str], line: _CommandLine, out: Arguments) -> None:
    rivals = next((group - {flag.target} for group in EXCLUSIVE if flag.target in group), frozenset())
    if rivals & line.out.values.keys():
        return
    for variable in flag.envs:
        # llama-server still takes LLAMA_ARG_NO_X, with any value, for switches that have a --no-x.
        negative = variable.replace("LLAMA_ARG_", "LLAMA_ARG_NO_", 1)
        if flag.off_names and negative != variable and negative in environ:
            return _store(out, flag, False)
        if text := environ.get(variable, ""):
            out.sources[flag.target] = f"{variable}={_shown(text)}"
            return _store(out, flag, _read(flag, variable, text))
