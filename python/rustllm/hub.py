"""Models from the Hugging Face hub: `user/repo[:quant]`, through its own library and cache."""

from __future__ import annotations

from collections.abc import Sequence

#: What is taken where no quant is named, best first.
PREFERRED = ("Q4_K_M", "Q4_0", "Q8_0")


class HubError(RuntimeError):
    """A model could not be found or downloaded."""


def choose_file(files: Sequence[str], quant: str | None) -> str:
    """The GGUF file of a repository for a quant, or for the preferred one. Raises HubError."""
    models = sorted(name for name in files if name.endswith(".gguf") and "mmproj" not in name)
    if not models:
        raise HubError("the repository has no GGUF file")
    for wanted in [quant] if quant else PREFERRED:
        matches = [name for name in models if wanted.lower() in name.lower()]
        if matches:
            return matches[0]
    if quant:
        raise HubError(f"no GGUF file for {quant!r}; there are: {', '.join(models)[:1000]}")
    return models[0]


def download(repo: str, *, file: str | None = None, token: str | None = None, offline: bool = False) -> str:
    """Downloads a model, unless the cache has it, and returns its path. Raises HubError.

    The progress bar and the cache are `huggingface_hub`'s; HF_ENDPOINT and HF_HOME are honoured.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, quant = repo.partition(":")
    try:
        if file is None and offline:
            from pathlib import Path

            folder = Path(snapshot_download(name, local_files_only=True))
            return str(
                folder / choose_file([str(p.relative_to(folder)) for p in folder.rglob("*.gguf")], quant or None)
            )
        if file is None:
            file = choose_file(HfApi(token=token).list_repo_files(name), quant or None)
        return hf_hub_download(name, file, token=token, local_files_only=offline)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise HubError(f"cannot get {repo}: {str(error).splitlines()[0] if str(error) else error!r}") from None
