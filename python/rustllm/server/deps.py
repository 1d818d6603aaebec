"""What routes depend on, as annotated aliases."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from rustllm.server.state import Model, ServerState


def get_state(request: Request) -> ServerState:
    """The server's state."""
    return cast(ServerState, request.app.state.server)


def get_model(request: Request) -> Model:
    """The loaded model; 503 while there is none."""
    return get_state(request).require_model()


State = Annotated[ServerState, Depends(get_state)]
LoadedModel = Annotated[Model, Depends(get_model)]
