"""A model in this process: what `LLM` and `AsyncLLM` have in common.

Settings become an engine, a dispatcher and what makes jobs; outputs become results (`answered.py`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rustllm._rustllm import Engine, read_gguf
from rustllm.chat.template import ChatTemplate
from rustllm.config import EMBEDDED_MODEL, ServerSettings
from rustllm.flags.resolve import REPOSITORY
from rustllm.limits import Limits
from rustllm.llm.dispatch import Dispatcher
from rustllm.llm.jobs import Jobs
from rustllm.loading import load_engine, make_template

#: Prompts that run together unless settings say otherwise.
N_PARALLEL = 32

#: Prompts that may wait; the engine's own bound.
MAX_QUEUE = 1_000_000


def find_model(model: str | os.PathLike[str] | None, token: str | None = None) -> Path:
    """The file of a model, which is downloaded if it is a repository's and not in the cache.

    Raises FileNotFoundError, or HubError where the repository cannot be had.
    """
    if model is None:
        return EMBEDDED_MODEL
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if isinstance(model, str) and REPOSITORY.fullmatch(model) and not model.endswith(".gguf"):
        from rustllm import hub

        return hub.download(model, token=token)
    kind = "is a directory" if path.is_dir() else "does not exist"
    raise FileNotFoundError(f"model: {os.fspath(model)!r} {kind}; allowed: a GGUF file, USER/REPO or USER/REPO:QUANT")


def one_of(name: str, value: int | None, other: str, alias: int | None, default: int) -> int:
    """A setting that has two names. TypeError where both are given."""
    if value is not None and alias is not None:
        raise TypeError(f"{name} and {other} are two names of one setting; give one of them")
    return next((given for given in (value, alias) if given is not None), default)


def context_length(metadata: Mapping[str, Any]) -> int:
    """The context that a model was made for, by its file's metadata."""
    own = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    return own if isinstance(own, int) else 4096


def make_settings(
    path: Path,
    *,
    n_ctx: int,
    n_parallel: int,
    lora: Sequence[str | os.PathLike[str] | tuple[str | os.PathLike[str], float]] = (),
    pooling: str | None = None,
    **more: Any,
) -> ServerSettings:
    """The settings of an engine whose sequences have `n_ctx` tokens each; 0 is the model's own number."""
    if n_parallel < 1:
        raise ValueError(f"n_parallel: {n_parallel} is out of range; allowed: 1 and above")
    if n_ctx < 0:
        raise ValueError(f"n_ctx: {n_ctx} is out of range; allowed: 0 (the model's own) and above")
    metadata = read_gguf(path)["metadata"]
    architecture = metadata.get("general.architecture")
    if pooling is None and f"{architecture}.pooling_type" not in metadata:
        # Texts shall have one vector each, also from models that are not made for that.
        pooling = "mean"
    return ServerSettings(
        model=path,
        n_ctx=(n_ctx or context_length(metadata)) * n_parallel,
        fit_shortens=n_ctx == 0,
        n_parallel=n_parallel,
        # Blocks are taken as they are needed: the context of all costs nothing until it is used.
        kv_unified=False,
        limits=Limits({"queue": MAX_QUEUE}),
        pooling=pooling,
        lora=tuple((Path(one[0]), one[1]) if isinstance(one, tuple) else (Path(one), 1.0) for one in lora),
        **more,
    )


def _template(settings: ServerSettings, engine: Engine) -> tuple[ChatTemplate, dict[str, bool]]:
    template = make_template(settings, engine)
    return template, template.capabilities()


class Loaded:
    """A model that is loaded, until `close`."""

    def __init__(self, settings: ServerSettings, progress: Callable[[float], bool] | None = None) -> None:
        self.settings = settings
        self.native: Engine = load_engine(settings, progress)
        try:
            # On a thread of its own: what templates raise on the way leaves cycles behind, which would hold the
            # callers' frames, and with them this model, until the garbage collector comes by.
            with ThreadPoolExecutor(1) as pool:
                template, capabilities = pool.submit(_template, settings, self.native).result()
        except BaseException:
            self.native.shutdown()
            raise
        self.jobs = Jobs(self.native, settings, template, capabilities)
        self.dispatcher = Dispatcher(self.native)
        #: Also called when this is dropped, and when the interpreter ends.
        self.close = weakref.finalize(self, self.dispatcher.close)

    def check(self) -> None:
        """Raises ForkedError or EngineClosedError where the model cannot be used."""
        self.dispatcher.check()
