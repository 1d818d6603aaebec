"""The router's own routes, and one for every route that a model's process answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import StreamingResponse

from rustllm.config import UsageError
from rustllm.server import schema_docs
from rustllm.server.anthropic import errors as anthropic
from rustllm.server.body import parse_body, read_body, read_data
from rustllm.server.deps import State, get_known_model, get_model
from rustllm.server.dialects import Dialect, Dialects
from rustllm.server.errors import ApiError
from rustllm.server.native.props.service import BUILD
from rustllm.server.ollama import errors as ollama
from rustllm.server.ollama import schemas as ollama_schemas
from rustllm.server.openai.models.anthropic import asks_for_anthropic, model_page
from rustllm.server.router_mode import listing
from rustllm.server.router_mode.downloads import Downloads
from rustllm.server.router_mode.models import Models, Served
from rustllm.server.router_mode.proxy import forward
from rustllm.server.router_mode.schemas import Done, Health, ModelRequest, Named, RoutedModels

router = APIRouter(tags=["Several models"])

#: What the router answers itself, though a server of one model asks its model.
OWN_PATHS = frozenset({"/health", "/v1/health", "/models", "/v1/models", "/api/tags", "/api/ps"})

#: What a model's process answers, though it does not need its model for that.
OF_ONE_MODEL = frozenset({"/metrics"})

_WORDS = {"true": True, "1": True, "false": False, "0": False}


async def get_models(request: Request) -> Models:
    """The models."""
    return cast(Models, request.app.state.models)


async def get_downloads(request: Request) -> Downloads:
    """The downloads."""
    return cast(Downloads, request.app.state.downloads)


All = Annotated[Models, Depends(get_models)]
Fetched = Annotated[Downloads, Depends(get_downloads)]


@router.get("/health", response_model=None, responses=schema_docs.reads(Health))
@router.get("/v1/health", response_model=None, responses=schema_docs.reads(Health))
async def health() -> dict[str, str]:
    """200 as long as the router runs, whatever its models do."""
    return {"status": "ok"}


@router.get(
    "/models",
    response_model=None,
    openapi_extra=schema_docs.parameters(reload="1 looks for models again first."),
    responses=schema_docs.reads(RoutedModels),
)
@router.get("/v1/models", response_model=None, responses=schema_docs.reads(RoutedModels))
async def list_models(request: Request, models: All, downloads: Fetched) -> dict[str, Any]:
    """All models with what they are doing."""
    if request.query_params.get("reload"):
        try:
            await models.reload()
        except UsageError as error:
            raise ApiError(500, str(error)) from None
    if asks_for_anthropic(request):
        return model_page([(served.entry.name, served.created) for served in models])
    return {"object": "list", "data": listing.cards(models, downloads)}


@router.post(
    "/models",
    response_model=None,
    openapi_extra=schema_docs.body(ModelRequest),
    responses=schema_docs.answers(Done, None, 501),
)
async def download(request: Request, state: State, downloads: Fetched) -> dict[str, bool]:
    """Begins to download a model from the Hugging Face hub."""
    await downloads.begin((await read_body(request, state, ModelRequest)).model)
    return {"success": True}


@router.delete(
    "/models",
    response_model=None,
    openapi_extra=schema_docs.parameters(model="The model's name."),
    responses=schema_docs.reads(Done),
)
async def remove(request: Request, downloads: Fetched) -> dict[str, bool]:
    """Removes a downloaded model from the cache."""
    name = request.query_params.get("model", "")
    if not name:
        raise ApiError(400, "model: the query names no model", param="model")
    await downloads.remove(name)
    return {"success": True}


@router.post(
    "/models/load",
    response_model=None,
    openapi_extra=schema_docs.body(ModelRequest),
    responses=schema_docs.answers(Done),
)
async def load(request: Request, state: State, models: All) -> dict[str, bool]:
    """Begins to load a model."""
    name = (await read_body(request, state, ModelRequest)).model
    served = models.get(name)
    if served is None:
        raise ApiError(404, f"model {name!r} is not found; there are: {models.names()}", param="model")
    if served.run is not None:
        raise ApiError(400, f"model {name!r} is already running", param="model")
    models.load(served)
    return {"success": True}


@router.post(
    "/models/unload",
    response_model=None,
    openapi_extra=schema_docs.body(ModelRequest),
    responses=schema_docs.answers(Done),
)
async def unload(request: Request, state: State, models: All, downloads: Fetched) -> dict[str, bool]:
    """Begins to unload a model, or ends its download."""
    name = (await read_body(request, state, ModelRequest)).model
    if name in downloads.running:
        downloads.running[name].cancel()
        return {"success": True}
    served = models.get(name)
    if served is None:
        raise ApiError(400, f"model {name!r} is not found; there are: {models.names()}", param="model")
    if served.run is None:
        raise ApiError(400, f"model {name!r} is not running", param="model")
    models.unload_soon(served)
    return {"success": True}


@router.get("/models/sse", responses={200: {"content": {"text/event-stream": {}}}})
async def events(models: All) -> Response:
    """What happens to the models, as it happens."""
    return StreamingResponse(models.events.listen(), media_type="text/event-stream")


@router.get("/api/tags", response_model=None, responses=schema_docs.reads(ollama_schemas.Tags))
async def tags(models: All) -> dict[str, Any]:
    """All models, for Ollama's clients."""
    return {"models": await asyncio.get_running_loop().run_in_executor(None, listing.tags, models)}


@router.get("/api/ps", response_model=None, responses=schema_docs.reads(ollama_schemas.Processes))
async def processes(models: All) -> dict[str, Any]:
    """The models that are loaded, for Ollama's clients."""
    return {"models": listing.running(models)}


def router_props(models: Models) -> dict[str, Any]:
    """`/props` without a model: what llama-server's clients need to know of a router."""
    return {
        "role": "router",
        "max_instances": models.settings.models_max,
        "models_autoload": models.settings.models_autoload,
        "model_alias": "rustllm",
        "model_path": "none",
        "default_generation_settings": {"params": {}, "n_ctx": 0},
        "webui": models.settings.webui,
        "ui": models.settings.webui,
        "ui_settings": models.settings.ui_settings,
        "endpoint_metrics": models.settings.metrics,
        "endpoint_slots": models.settings.slots,
        "build_info": BUILD,
        "cors_proxy_enabled": False,
    }


def proxied(route: APIRoute, dialects: Dialects, prefix: str) -> APIRoute:
    """A route that hands its requests to the process of the model that they name."""
    whole = prefix + route.path

    async def endpoint(request: Request, state: State, models: All) -> Any:
        dialect = dialects.of(request.url.path)
        reads = request.method in ("GET", "HEAD", "DELETE")
        if route.path == "/props" and reads and not request.query_params.get("model"):
            return router_props(models)
        data = b"" if reads else bytes(await read_data(request, state))
        name = _in_query(request)
        if name is None and not reads:
            named = await parse_body(request, state, data, Named)
            name = named.model or named.name
        served = _served(models, name, dialect)
        path = bytes(request.scope["raw_path"]).removeprefix(prefix.encode())
        if query := request.scope["query_string"]:
            path += b"?" + query
        return await forward(request, path, data, models, served, _autoload(request, models), dialect)

    return APIRoute(
        whole,
        endpoint,
        methods=route.methods,
        name=route.name,
        tags=route.tags,
        description=route.description,
        response_model=None,
        responses=route.responses,
        openapi_extra=route.openapi_extra,
    )


def _in_query(request: Request) -> str | None:
    query = request.query_params
    # A conversation's id may end with its model, as llama-server's page writes them.
    return query.get("model") or query.get("conv_id", "").rpartition("::")[2] or None


def _served(models: Models, name: str | None, dialect: Dialect) -> Served:
    if not name:
        raise ApiError(400, f"model: the request names no model; there are: {models.names()}", param="model")
    served = models.get(name)
    if served is None and dialect is ollama.DIALECT:
        served = models.get(name.removesuffix(":latest"))
    if served is None:
        # llama-server says 400; clients of Ollama and Anthropic look for 404.
        status = 404 if dialect in (ollama.DIALECT, anthropic.DIALECT) else 400
        raise ApiError(status, f"model {name!r:.200} is not found; there are: {models.names()}", param="model")
    return served


def _autoload(request: Request, models: Models) -> bool:
    word = request.query_params.get("autoload", "")
    if not word:
        return models.settings.models_autoload
    if word not in _WORDS:
        raise ApiError(400, f"autoload: {word!r:.60} is not allowed; allowed: true, false, 1, 0", param="autoload")
    return _WORDS[word]


def api_routes(routes: Any) -> Iterator[APIRoute]:
    """The documented routes of an app or a router; a router that was included may stand for its own."""
    for route in routes:
        if isinstance(route, APIRoute):
            if route.include_in_schema:
                yield route
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from api_routes(inner.routes)


def asks_for_model(route: APIRoute) -> bool:
    """Whether a route of a server of one model needs the model."""
    needed: tuple[Callable[..., Awaitable[Any]], ...] = (get_model, get_known_model)
    return any(dependency.call in needed for dependency in route.dependant.dependencies)
