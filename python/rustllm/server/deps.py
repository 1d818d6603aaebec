"""What routes depend on, as annotated aliases.

They are coroutines, though they await nothing: FastAPI calls plain functions on a worker thread, which
costs a request more than all that it does here.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from rustllm.server.state import Model, ServerState


async def get_state(request: Request) -> ServerState:
    """The server's state."""
    return cast(ServerState, request.app.state.server)


async def get_model(request: Request) -> Model:
    """The loaded model; 503 while there is none."""
    return (await get_state(request)).require_model()


State = Annotated[ServerState, Depends(get_state)]
LoadedModel = Annotated[Model, Depends(get_model)]
