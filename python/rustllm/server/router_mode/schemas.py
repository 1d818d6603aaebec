"""What the router's own endpoints take and answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from rustllm.server.answers import Shape
from rustllm.server.openai.models.schemas import ModelArchitecture, ModelMeta
from rustllm.server.parts import FromClient


class Named(FromClient):
    """A request that names its model; what else it has is for the model's process."""

    model_config = ConfigDict(strict=True)

    model: str | None = Field(None, description="The model's name.")
    name: str | None = Field(None, description="The same, in older requests of Ollama.")


class ModelRequest(FromClient):
    """A model to load, unload or download."""

    model_config = ConfigDict(strict=True)

    model: str = Field(min_length=1, description="The model's name; to download, `user/repo` or `user/repo:quant`.")


class Done(Shape):
    """What was asked for has begun."""

    success: Literal[True] = Field(description="Any other outcome is an error.")


class Status(Shape):
    """What a model is doing."""

    value: Literal["unloaded", "loading", "loaded", "sleeping", "downloading"] = Field(description="The state.")
    args: list[str] = Field(description="The command line of its process.")
    preset: str | None = Field(None, description="Its section of the presets.")
    failed: bool | None = Field(None, description="True where its last process ended by itself.")
    exit_code: int | None = Field(None, description="With `failed`: the status of that process, negative for a signal.")
    reason: str | None = Field(None, description="With `failed`: why.")
    progress: dict[str, Any] | None = Field(
        None, description="While it is downloaded: bytes `done` and `total` by file."
    )


class RoutedModel(Shape):
    """A model that could be served."""

    id: str = Field(description="The name that requests name.")
    aliases: list[str] = Field(description="Other names.")
    tags: list[str] = Field(description="As the preset has them.")
    object: Literal["model"] = Field(description="What this is.")
    owned_by: str = Field(description="Who serves it.")
    created: int = Field(description="Since when it is known; seconds since 1970.")
    status: Status = Field(description="What it is doing.")
    architecture: ModelArchitecture = Field(description="What goes in and comes out.")
    source: Literal["cache", "models_dir", "preset"] = Field(description="Where it was found.")
    can_remove: bool = Field(description="Whether DELETE /models takes it.")
    path: str | None = Field(None, description="Its file.")
    meta: ModelMeta | None = Field(None, description="While it is loaded: its sizes.")


class RoutedModels(Shape):
    """All models that could be served."""

    object: Literal["list"] = Field(description="What this is.")
    data: list[RoutedModel] = Field(description="By name.")


class Health(Shape):
    """That requests are served."""

    status: Literal["ok"] = Field(description="Any other state is an error of status 503.")
