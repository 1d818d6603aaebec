"""What a flag is."""

from __future__ import annotations

from dataclasses import dataclass

from rustllm.flags.kinds import Kind


def spellings(text: str) -> tuple[str, ...]:
    """The names in "-m, --model"."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Flag:
    """A flag that means something here."""

    #: Spellings, the one shown first in messages last.
    names: tuple[str, ...]
    #: The field of `ServerSettings`, or `sampling.` and the field of `SamplingParams`.
    target: str
    kind: Kind
    help: str
    #: The environment variable, or several between commas.
    env: str | None = None
    #: What stands for the value in the help text; empty for switches.
    metavar: str = ""
    #: Spellings that switch it off.
    off_names: tuple[str, ...] = ()
    #: Given more than once, values add up instead of replacing each other.
    repeats: bool = False
    #: The default, where it cannot be read from `ServerSettings`.
    default: str = ""

    @property
    def envs(self) -> tuple[str, ...]:
        """The environment variables that stand for it, the usual one first."""
        return spellings(self.env or "")


@dataclass(frozen=True)
class Ignored:
    """A flag of llama-server that makes no difference here: accepted, with one warning line."""

    names: tuple[str, ...]
    #: Values that follow it; "?" is one that may be missing.
    values: int | str
    why: str
    env: str | None = None

    @property
    def envs(self) -> tuple[str, ...]:
        """The environment variables that stand for it."""
        return spellings(self.env or "")


@dataclass(frozen=True)
class Refused:
    """A flag of llama-server whose absence would be noticed: an error that says why."""

    names: tuple[str, ...]
    values: int
    why: str
    env: str | None = None
    #: Values that ask for what happens here anyway, and are therefore accepted.
    harmless: tuple[str, ...] = ()

    @property
    def envs(self) -> tuple[str, ...]:
        """The environment variables that stand for it."""
        return spellings(self.env or "")


AnyFlag = Flag | Ignored | Refused
