"""Models from the Hugging Face hub: `user/repo[:quant]`, through its own library and cache.

HF_ENDPOINT, HF_HOME and the other variables of `huggingface_hub` are honoured; the progress bar is its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: What is taken where no quantization is named, best first; then the first model of the repository.
PREFERRED = ("Q4_K_M", "Q8_0")

#: Parts of the names of GGUF files that are no language models: projectors, statistics, draft heads.
_SIDECARS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)

#: File names that an error lists at most.
_SHOWN_FILES = 20


class HubError(RuntimeError):
    """A model could not be found or downloaded."""


def choose_file(files: Sequence[str], quant: str | None = None) -> str:
    """The GGUF file of a repository for a quantization, or for the preferred one. Raises HubError."""
    models = sorted(name for name in files if _is_model(name))
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


def download(repo: str, *, file: str | None = None, token: str | None = None, offline: bool = False) -> Path:
    """Downloads a model, unless the cache has it, and returns its path. Raises HubError."""
    name, _, quant = repo.partition(":")
    try:
        files, away = (_cached(name), True) if offline else _listed(name, token)
        chosen = _named(files, file) if file else choose_file(files, quant or None)
        part = _PART.search(chosen)
        if part and int(part[2]) > 1:
            raise HubError(f"{chosen} is one of {int(part[2])} parts; models in parts are not supported yet")
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, chosen, token=token, local_files_only=away))
    except HubError as error:
        raise HubError(f"{name}: {error}") from None
    except Exception as error:  # The library lets its HTTP client's own exceptions through.
        raise HubError(f"cannot download {repo}: {_first_line(error)}") from None


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


def _is_model(name: str) -> bool:
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
