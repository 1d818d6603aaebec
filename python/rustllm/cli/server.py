"""`rustllm-serve`, which is also `rustllm serve`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rustllm.cli.ending import guarded
from rustllm.config import Arguments, ServerSettings, UsageError, parse
from rustllm.server.router_mode.link import Link


def run_server(arguments: Sequence[str], program: str) -> int:
    """Reads the flags and serves until told to stop."""
    return guarded(program, lambda: _serve(arguments, program, os.environ))


def _serve(arguments: Sequence[str], program: str, environ: Mapping[str, str]) -> int:
    asked = parse(arguments, environ)
    if asked.values.get("help"):
        from rustllm.flags.help import help_text

        print(help_text(program, _defaults()))
        return 0
    if asked.values.get("version"):
        print(f"rustllm {version()}")
        return 0
    link = Link.inherited(environ)
    try:
        return _start(asked, link)
    except (OSError, RuntimeError, ValueError) as error:
        if link is not None:
            link.report("failed", message=str(error))
        raise


def _start(asked: Arguments, link: Link | None) -> int:
    settings = ServerSettings.from_arguments(asked)
    check_requests(settings, asked.sources)
    set_up_log(settings)
    for warning in asked.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        if settings.routes:
            from rustllm.server.router_mode.app import run as run_router

            return run_router(settings, asked.line)
        if settings.models_dir or settings.models_preset:
            print("warning: one model is served, since -m or -hf names it; --models-… have no effect", file=sys.stderr)
        settings = fetch(settings)
        if not settings.model_path.is_file():
            raise FileNotFoundError(f"{settings.model_path}: there is no such model file")
        from rustllm.server.app import run

        return run(settings, link)
    except SystemExit:
        # uvicorn's way to say that it could not start to listen; the log has the reason.
        raise RuntimeError(f"cannot listen on {settings.host}, port {settings.port}") from None


def _defaults() -> dict[str, Any]:
    """The default of each setting by its name, for the help text."""
    settings = ServerSettings()
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def version() -> str:
    from rustllm._rustllm import __version__

    return __version__


def check_requests(settings: ServerSettings, sources: Mapping[str, str]) -> None:
    """Has the engine judge the defaults of requests, in its own words; `sources` are the flags."""
    from rustllm._rustllm import InvalidRequestError, SamplingParams, Watch

    try:
        SamplingParams(**settings.sampling_defaults)
        Watch(thought=("<think>", "</think>"), budget_message=settings.reasoning_budget_message)
    except InvalidRequestError as error:
        source = sources.get(f"sampling.{error.param}") or sources.get(f"reasoning_{error.param}")
        said = str(error).removeprefix(f"{error.param}: ")
        raise UsageError(str(error) if source is None else f"{source}: {said}") from None


def set_up_log(settings: ServerSettings) -> None:
    """Begins to log. Raises RuntimeError where the file cannot be written."""
    from rustllm import logging

    try:
        logging.set_up(verbosity=settings.verbosity, file=settings.log_file, form=settings.log_format)
    except OSError as error:
        raise RuntimeError(f"--log-file: cannot write {settings.log_file}: {error.strerror or error}") from None


def fetch(settings: ServerSettings) -> ServerSettings:
    """Downloads the model where a repository is named."""
    if settings.hf_repo is None:
        return settings
    from rustllm import hub

    path = hub.download(settings.hf_repo, file=settings.hf_file, token=settings.hf_token, offline=settings.offline)
    return dataclasses.replace(settings, model=path, aliases=settings.aliases or (settings.hf_repo,))
