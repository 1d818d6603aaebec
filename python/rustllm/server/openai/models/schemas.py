"""`/v1/models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rustllm.server.answers import Shape


class ModelMeta(Shape):
    """Sizes of a model."""

    vocab_type: int = Field(description="The tokenizer: 1 SPM, 2 BPE, 3 WPM.")
    n_vocab: int = Field(description="Tokens of the vocabulary.")
    n_ctx: int = Field(description="Context tokens of one slot.")
    n_ctx_train: int = Field(description="Context tokens that the model was trained with.")
    n_embd: int = Field(description="Width of the model.")
    n_params: int = Field(description="Number of weights.")
    size: int = Field(description="Bytes of all tensors.")
    ftype: str = Field(description="The type of most of the weights, in llama.cpp's words.")


class ModelArchitecture(Shape):
    """What goes in and comes out."""

    input_modalities: list[str] = Field(description="What a request may hold.")
    output_modalities: list[str] = Field(description="What an answer holds.")


class ModelCard(Shape):
    """A model in OpenAI's shape."""

    id: str = Field(description="The model's name.")
    aliases: list[str] = Field(description="All its names.")
    tags: list[str] = Field(description="Words about it, from `--tags`.")
    object: Literal["model"] = Field(description="What this is.")
    architecture: ModelArchitecture = Field(description="What goes in and comes out.")
    created: int = Field(description="When the model was loaded; seconds since 1970.")
    owned_by: str = Field(description="Who serves it.")
    meta: ModelMeta = Field(description="Sizes.")


class ModelDetails(Shape):
    """Of what family a model is."""

    parent_model: str = Field(description="Always empty.")
    format: str = Field(description="The file's format.")
    family: str = Field(description="The architecture.")
    families: list[str] = Field(description="The same.")
    parameter_size: str = Field(description="Number of weights, in short.")
    quantization_level: str = Field(description="The type of most of the weights, as in file names.")


class OllamaModel(Shape):
    """A model in Ollama's shape."""

    name: str = Field(description="The model's name.")
    model: str = Field(description="The same.")
    modified_at: str = Field(description="Always empty.")
    size: str = Field(description="Bytes of all tensors.")
    digest: str = Field(description="Always empty.")
    type: str = Field(description="What this is.")
    description: str = Field(description="Always empty.")
    tags: list[str] = Field(description="Always one empty text.")
    capabilities: list[str] = Field(description="What it can do.")
    parameters: str = Field(description="Always empty.")
    details: ModelDetails = Field(description="Of what family it is.")


class Models(Shape):
    """The one model that is served."""

    object: Literal["list"] = Field(description="What this is.")
    data: list[ModelCard] = Field(description="In OpenAI's shape.")
    models: list[OllamaModel] = Field(description="In Ollama's shape.")
