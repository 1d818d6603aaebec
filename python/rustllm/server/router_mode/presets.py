"""`--models-preset`: an INI file whose sections are models and whose keys are flags without dashes."""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path

from rustllm.flags.kinds import FALSY, Integer, Kind, Switch
from rustllm.flags.parse import FLAGS, UsageError, by_name, parse
from rustllm.flags.table import AnyFlag, Flag
from rustllm.server.router_mode.arguments import is_routers

#: The section whose keys hold for all models.
GLOBAL = "*"

#: The name here of what stands before the first section; `version` may, and is kept for later.
_HEAD = "(before the first section)"

#: Seconds between the wish that a model be unloaded and its process's end by force.
STOP_TIMEOUT = 10

_NAMED = {"model": "model", "hf_repo": "hf_repo", "hf_file": "hf_file"}


@dataclass
class Preset:
    """What one section says."""

    #: Flags for the command line of the model's process.
    arguments: list[str] = field(default_factory=list)
    #: The model, where the section names one: `model`, `hf_repo` and `hf_file`.
    source: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    load_on_startup: bool = False
    stop_timeout: int = STOP_TIMEOUT


def read_presets(path: Path) -> dict[str, Preset]:
    """The sections by name; each has what `[*]` says, too, unless it says otherwise. Raises UsageError."""
    reader = configparser.ConfigParser(
        default_section=GLOBAL,
        strict=False,
        interpolation=None,
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=("#", ";"),
        empty_lines_in_values=False,
    )
    reader.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        reader.read_string(f"[{_HEAD}]\n" + path.read_text(encoding="utf-8"), str(path))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"--models-preset: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UsageError(f"--models-preset: cannot read {path}: {error.strerror}") from None
    index = _keys()
    found = {}
    for name in (GLOBAL, *reader.sections()):
        if name == _HEAD:
            continue
        preset = found[name] = Preset()
        for key, value in reader.items(name):
            if key != "version":
                _take(preset, name, key, value, index)
    return found


def _keys() -> dict[str, AnyFlag]:
    """The flags by what stands for them in a preset: a name without dashes, or a variable."""
    keys = {name.lstrip("-"): flag for name, flag in by_name().items()}
    for flag in FLAGS:
        keys.update(dict.fromkeys((flag.env or "").split(", "), flag))
    return keys


def _take(preset: Preset, section: str, key: str, value: str, index: dict[str, AnyFlag]) -> None:
    place = f"--models-preset: [{section}] {key}"
    if key == "load-on-startup":
        preset.load_on_startup = bool(_read(Switch(), value, place))
        return
    if key == "stop-timeout":
        preset.stop_timeout = _read(Integer(0), value, place)
        return
    flag = index.get(key)
    if flag is None:
        raise UsageError(f"{place}: there is no such flag; allowed: the names of flags without dashes")
    if isinstance(flag, Flag) and flag.target in ("aliases", "tags"):
        setattr(preset, flag.target, flag.kind.read(value))
    elif isinstance(flag, Flag) and flag.target in _NAMED:
        preset.source[flag.target] = value
    elif not is_routers(flag) and (argument := _argument(flag, key, value, place)):
        try:
            parse([argument], {})
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
        preset.arguments.append(argument)


def _argument(flag: AnyFlag, key: str, value: str, place: str) -> str | None:
    """The argument for a command line; None where a switch without effect is off."""
    if isinstance(flag, Flag) and isinstance(flag.kind, Switch):
        off = key in {name.lstrip("-") for name in flag.off_names}
        value = "on" if _read(flag.kind, value, place) != off else "off"
    elif not isinstance(flag, Flag) and flag.values == 0 and value.lower() in FALSY:
        return None
    return f"{flag.names[-1]}={value}"


def _read(kind: Kind, value: str, place: str) -> int:
    try:
        return int(kind.read(value))
    except ValueError:
        raise UsageError(f"{place}: {value!r} is not allowed; allowed: {kind.allowed}") from None
