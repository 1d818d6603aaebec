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
    """The model, ready to run; 503 while there is none. One that sleeps is woken."""
    return await (await get_state(request)).awake_model()


async def get_known_model(request: Request) -> Model:
    """The model, of which no more is asked than what it is: it may sleep on. 503 while there is none."""
    return (await get_state(request)).require_model()


State = Annotated[ServerState, Depends(get_state)]
LoadedModel = Annotated[Model, Depends(get_model)]
KnownModel = Annotated[Model, Depends(get_known_model)]
