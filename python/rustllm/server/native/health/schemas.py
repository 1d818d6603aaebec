"""`/health`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rustllm.server.answers import Shape


class Status(Shape):
    """That requests are served."""

    status: Literal["ok"] = Field(description="Any other state is an error of status 503.")
