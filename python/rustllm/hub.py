"""Models from the Hugging Face hub: `user/repo[:quant]`, through its own library and cache.

HF_ENDPOINT, HF_HOME and the other variables of `huggingface_hub` are honoured; the progress bar is its own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

#: What is taken where no quantization is named, best first; then the first model of the repository.
PREFERRED = ("Q4_K_M", "Q8_0")

#: Parts of the names of GGUF files that are no language models: projectors, statistics, draft heads.
_SIDECARS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")

T = TypeVar("T")

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)

#: File names that an error lists at most.
_SHOWN_FILES = 20


class HubError(RuntimeError):
    """A model could not be found or downloaded."""


#: What a file's name says of its quantization: the last part of `model-Q4_K_M.gguf`.
_QUANT = re.compile(r"[-.]([A-Z0-9_]+)$", re.IGNORECASE)

#: Takes the bytes that are there and those that there will be, while a file is downloaded.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CachedModel:
    """A model file in the cache."""

    #: `user/repo:quant`, or `user/repo` where the file's name has no quantization.
    name: str
    repo: str
    #: The file, or the first of its parts.
    path: Path

    @property
    def paths(self) -> list[Path]:
        """The file, or all its parts."""
        return [self.path.with_name(name) for name in parts(self.path.name)]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.paths)


def choose_file(files: Sequence[str], quant: str | None = None) -> str:
    """The GGUF file of a repository for a quantization, or for the preferred one. Raises HubError."""
    models = sorted(name for name in files if is_model(name))
    if not models:
        raise HubError("the repository has no GGUF model")
    for wanted in (quant,) if quant else PREFERRED:
        # The name ends in a dot or a dash: Q4_K is not Q4_K_M, and Q8_0 not Q8_0_L.
        pattern = re.compile(re.escape(wanted) + "[.-]", re.IGNORECASE)
        for name in models:
            if pattern.search(name):
                return name
    if quant:
        raise HubError(f"no GGUF file is of type {quant!r}; there are: {_listing(models)}")
    return models[0]


def download(
    repo: str,
    *,
    file: str | None = None,
    token: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Downloads a model with all its parts, unless the cache has it, and returns its (first) file's path.

    Raises HubError.
    """

    def fetch() -> Path:
        from huggingface_hub import hf_hub_download

        chosen, away = _find(repo, file, token, offline)
        paths: list[Path] = []
        for name in parts(chosen):
            more = {} if progress is None else _reporting(_after(paths, progress))
            found = hf_hub_download(repo.partition(":")[0], name, token=token, local_files_only=away, **more)
            paths.append(Path(found))
        return paths[0]

    return _explained(repo, fetch)


def find(repo: str, token: str | None = None) -> str:
    """The file of a repository that `download` would fetch. Raises HubError."""
    return _explained(repo, lambda: _find(repo, None, token, False)[0])


def cached_models() -> list[CachedModel]:
    """The models in the cache that a server could load, by name."""
    found = {}
    for repo in _cached_repos():
        for revision in sorted(repo.revisions, key=lambda one: one.last_modified):
            for file in revision.files:
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if not is_model(name):
                    continue
                quant = _QUANT.search(stem(name.rpartition("/")[2]))
                full = f"{repo.repo_id}:{quant[1].upper()}" if quant else repo.repo_id
                model = CachedModel(full, repo.repo_id, file.file_path)
                if all(path.exists() for path in model.paths):
                    found[full] = model
    return [found[name] for name in sorted(found)]


def remove(model: CachedModel) -> None:
    """Removes a model's files from the cache, and its repository once that has no other model. Raises OSError."""
    for repo in _cached_repos():
        if repo.repo_id != model.repo:
            continue
        files = [file for revision in repo.revisions for file in revision.files]
        same = [file for file in files if file.file_name in parts(model.path.name)]
        if not any(is_model(file.file_name) for file in files if file not in same):
            shutil.rmtree(repo.repo_path)
            return
        others = {file.blob_path for file in files if file not in same}
        for file in same:
            file.file_path.unlink(missing_ok=True)
            if file.blob_path not in others:
                file.blob_path.unlink(missing_ok=True)


def _cached_repos() -> list[Any]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return [repo for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []


def _find(repo: str, file: str | None, token: str | None, offline: bool) -> tuple[str, bool]:
    """The file to take, and whether it can only come from the cache."""
    name, _, quant = repo.partition(":")
    files, away = (_cached(name), True) if offline else _listed(name, token)
    chosen = _named(files, file) if file else choose_file(files, quant or None)
    whole = parts(chosen)
    if missing := [name for name in whole if name not in files]:
        raise HubError(f"of the {len(whole)} parts of {whole[0]}, there are none called {_listing(missing)}")
    return whole[0], away


def parts(name: str) -> list[str]:
    """The names of all parts of a model of which `name` is one, in order; `name` alone where it is in one file."""
    part = _PART.search(name)
    if part is None:
        return [name]
    ending = name[part.start() :]
    return [f"{name[: part.start()]}-{number:05}{ending[6:]}" for number in range(1, int(part[2]) + 1)]


def stem(name: str) -> str:
    """The name of a file without its ending and what says which part it is."""
    return _PART.sub("", name).removesuffix(".gguf")


def _after(paths: Sequence[Path], progress: Progress) -> Progress:
    """Reports a part's progress as that of all parts so far."""
    before = sum(path.stat().st_size for path in paths)
    return lambda done, total: progress(before + done, before + total)


def _explained(repo: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except HubError as error:
        raise HubError(f"{repo.partition(':')[0]}: {error}") from None
    except Exception as error:  # The library lets its HTTP client's own exceptions through.
        raise HubError(f"cannot download {repo}: {_first_line(error)}") from None


def _reporting(progress: Progress) -> dict[str, Any]:
    """What makes the library report its progress; older versions of it cannot."""
    from inspect import signature

    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import tqdm

    if "tqdm_class" not in signature(hf_hub_download).parameters:
        return {}

    class Reporting(tqdm):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)  # type: ignore[no-untyped-call]
            # The bar itself does not count where it is not shown.
            self.done = int(named.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            progress(self.done, int(self.total or 0))
            shown: bool | None = super().update(n)
            return shown

    return {"tqdm_class": Reporting}


def _listed(repo: str, token: str | None) -> tuple[list[str], bool]:
    """The files of a repository, and whether the cache had to tell because the hub is away."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        # Unlike the listing of a repository's tree, this is asked once, without half a minute of retries.
        info = HfApi(token=token).model_info(repo)
        return [sibling.rfilename for sibling in info.siblings or []], False
    except HfHubHTTPError:
        raise
    except Exception as unreachable:
        try:
            return _cached(repo), True
        except HubError:
            raise unreachable from None


def _cached(repo: str) -> list[str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, local_files_only=True))
    except LocalEntryNotFoundError:
        raise HubError("it is not in the local cache") from None
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf")]


def is_model(name: str) -> bool:
    """Whether a file is a model by its name, or the first part of one."""
    base = name.rpartition("/")[2]
    part = _PART.search(base)
    first = part is None or int(part[1]) == 1
    return base.lower().endswith(".gguf") and first and not any(word in base for word in _SIDECARS)


def _named(files: Sequence[str], file: str) -> str:
    for name in files:
        if name.lower() == file.lower():
            return name
    raise HubError(f"there is no file {file!r}; there are: {_listing([n for n in files if n.endswith('.gguf')])}")


def _listing(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_FILES
    return (", ".join(names[:_SHOWN_FILES]) or "none") + (f" and {more} more" if more > 0 else "")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
