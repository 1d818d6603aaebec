"""`POST /slots/{id}`: what is asked and answered."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from rustllm.server.answers import Shape
from rustllm.server.parts import FromClient


class SlotFileRequest(FromClient):
    """The file to save a slot to, or to restore it from."""

    model_config = ConfigDict(strict=True)

    filename: str = Field(description="A name without a path; the file lies in the directory of --slot-save-path.")


class SaveTimings(Shape):
    """How long it took."""

    save_ms: float = Field(description="Milliseconds.")


class Saved(Shape):
    """A slot that was saved."""

    id_slot: int = Field(description="The slot.")
    filename: str = Field(description="The file's name.")
    n_saved: int = Field(description="Tokens in the file.")
    n_written: int = Field(description="Bytes of the file.")
    timings: SaveTimings = Field(description="How long it took.")


class RestoreTimings(Shape):
    """How long it took."""

    restore_ms: float = Field(description="Milliseconds.")


class Restored(Shape):
    """A slot that was restored."""

    id_slot: int = Field(description="The slot.")
    filename: str = Field(description="The file's name.")
    n_restored: int = Field(description="Tokens in the file.")
    n_read: int = Field(description="Bytes of the file.")
    timings: RestoreTimings = Field(description="How long it took.")


class Erased(Shape):
    """A slot whose cached prompt is gone."""

    id_slot: int = Field(description="The slot.")
    n_erased: int = Field(description="Tokens that it had.")
