"""The models that there are: in `--models-dir`, in the hub's cache and in `--models-preset`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rustllm import hub
from rustllm.config import ServerSettings, UsageError
from rustllm.server.router_mode.presets import GLOBAL, STOP_TIMEOUT, Preset, read_presets

Source = Literal["cache", "models_dir", "preset"]


@dataclass(frozen=True)
class Entry:
    """A model that could be served."""

    name: str
    source: Source
    #: The file, or None where a preset names a repository.
    path: Path | None = None
    #: What its process is told beside where to listen.
    arguments: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    #: The flags of its section in the presets, if there is one.
    preset: tuple[str, ...] | None = None
    load_on_startup: bool = False
    stop_timeout: int = STOP_TIMEOUT


class Catalog:
    """Looks for models where the settings say."""

    def __init__(self, settings: ServerSettings, inherited: Iterable[str]) -> None:
        self._settings = settings
        self._inherited = tuple(inherited)

    def read(self) -> dict[str, Entry]:
        """The models by name. Of two with one name that of the directory counts, and presets add to both.
        Raises UsageError where a preset is at fault."""
        found = {entry.name: entry for entry in self._cached()}
        found.update((entry.name, entry) for entry in self._in_directory())
        path = self._settings.models_preset
        presets = read_presets(path) if path else {}
        common = presets.pop(GLOBAL, Preset())
        for name, preset in presets.items():
            found[name] = self._with_preset(found.get(name), name, preset)
        complete = {name: self._complete(entry, common) for name, entry in found.items()}
        _check_aliases(complete)
        return complete

    def _cached(self) -> list[Entry]:
        return [Entry(model.name, "cache", model.path) for model in hub.cached_models()]

    def _in_directory(self) -> list[Entry]:
        directory = self._settings.models_dir
        if directory is None:
            return []
        entries = []
        for item in sorted(directory.iterdir()):
            if item.is_dir():
                files = [path for path in sorted(item.iterdir()) if hub.is_model(path.name)]
                if files:
                    entries.append(Entry(item.name, "models_dir", files[0]))
            elif item.name.endswith(".gguf") and item.name == hub.parts(item.name)[0]:
                entries.append(Entry(hub.stem(item.name), "models_dir", item))
        return entries

    def _with_preset(self, entry: Entry | None, name: str, preset: Preset) -> Entry:
        place = f"--models-preset: [{name}]"
        path = Path(preset.source["model"]).expanduser() if "model" in preset.source else None
        repo = preset.source.get("hf_repo")
        if path is not None and repo is not None:
            raise UsageError(f"{place}: model and hf-repo both name a model; give one of them")
        if path is None and repo is None and entry is None:
            raise UsageError(f"{place}: there is no such model; name one with model or hf-repo")
        options = preset.arguments
        if repo is not None:
            options = [*options, *(f"--{key.replace('_', '-')}={value}" for key, value in preset.source.items())]
        base = entry if entry is not None and path is None and repo is None else Entry(name, "preset", path)
        return replace(
            base,
            source="preset",
            preset=tuple(options),
            aliases=preset.aliases,
            tags=preset.tags,
            load_on_startup=preset.load_on_startup,
            stop_timeout=preset.stop_timeout,
        )

    def _complete(self, entry: Entry, common: Preset) -> Entry:
        """The entry with the whole command line of its process: the router's own flags win over presets."""
        options = tuple(common.arguments) if entry.preset is None else entry.preset
        where = () if entry.path is None else ("--model", str(entry.path))
        entry = replace(entry, arguments=(*options, *self._inherited, *where, "--alias", entry.name))
        if entry.preset is not None:
            return entry
        return replace(entry, load_on_startup=common.load_on_startup, stop_timeout=common.stop_timeout)


def _check_aliases(entries: dict[str, Entry]) -> None:
    owners: dict[str, str] = {}
    for entry in entries.values():
        for alias in entry.aliases:
            other = alias if alias in entries and alias != entry.name else owners.get(alias)
            if other is not None and other != entry.name:
                raise UsageError(f"--models-preset: [{entry.name}] alias: {alias!r} is a name of model {other!r}")
            owners[alias] = entry.name
