"""Models that are fetched from the hub, and models that are removed from its cache."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from rustllm import hub
from rustllm.config import UsageError
from rustllm.flags.resolve import REPOSITORY
from rustllm.server.errors import ApiError
from rustllm.server.router_mode.models import Models
from rustllm.server.router_mode.process import Process

log = logging.getLogger("rustllm.router")


class Download:
    """One that runs."""

    def __init__(self, file: str) -> None:
        #: The repository with its file, as events name it.
        self.file = file
        self.progress = {"done": 0, "total": 0}
        self.process: Process | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Ends it; what is there of the file is kept and gone on with the next time."""
        self.cancelled = True
        if self.process is not None:
            self.process.kill()


class Downloads:
    """All that run."""

    def __init__(self, models: Models, environ: dict[str, str]) -> None:
        self.running: dict[str, Download] = {}
        self._models = models
        self._environ = environ

    async def begin(self, name: str) -> None:
        """Begins to download a model that the hub has. Raises ApiError 400 for any other,
        and 501 where nothing is downloaded."""
        if not REPOSITORY.fullmatch(name) or any(part.strip(".") == "" for part in name.split("/")):
            allowed = "user/repo or user/repo:quant"
            raise ApiError(400, f"model: {name!r} is not allowed; allowed: {allowed}", param="model")
        if self._models.settings.offline:
            raise ApiError(501, "This server does not download models. Start it without `--offline`")
        if self._models.get(name) is not None or name in self.running:
            raise ApiError(400, f"model {name!r} already exists", param="model")
        download = self.running[name] = Download(name)
        try:
            token = self._models.settings.hf_token
            file = await asyncio.get_running_loop().run_in_executor(None, hub.find, name, token)
        except hub.HubError as error:
            del self.running[name]
            raise ApiError(400, f"model {name!r} cannot be downloaded: {error}", param="model") from None
        except BaseException:
            del self.running[name]
            raise
        download.file = f"{name.partition(':')[0]}/{file}"
        download.task = asyncio.ensure_future(self._follow(name, download))

    async def _follow(self, name: str, download: Download) -> None:
        events, reason = self._models.events, "its process ended"
        events.send(name, "model_status", {"status": "downloading"})
        status = 1
        try:
            if not download.cancelled:
                download.process = await Process.start(
                    ["-m", "rustllm.server.router_mode.download", name], self._environ
                )
                async for report in download.process.reports():
                    if report["state"] == "failed":
                        reason = report["message"]
                        continue
                    download.progress = {"done": report["done"], "total": report["total"]}
                    events.send(name, "download_progress", {download.file: download.progress})
                status = await download.process.wait()
            if status == 0:
                await self._models.reload()
        except (OSError, UsageError) as error:
            status, reason = 1, str(error)
        finally:
            self.running.pop(name, None)
        if status == 0:
            events.send(name, "download_finished")
            return
        reason = "it was cancelled" if download.cancelled else reason
        log.warning("a download failed", extra={"fields": {"model": name, "reason": reason}})
        events.send(name, "download_failed", {"reason": reason})

    async def remove(self, name: str) -> None:
        """Removes a model of the cache, or a download. Raises ApiError 400 for any other model."""
        download = self.running.get(name)
        if download is not None:
            download.cancel()
            if download.task is not None:
                await asyncio.wait({download.task})
            self._models.events.send(name, "model_remove")
            return
        served = self._models.get(name)
        if served is None:
            raise ApiError(404, f"model {name!r} is not found; there are: {self._models.names()}", param="model")
        name = served.entry.name
        if served.entry.source != "cache":
            raise ApiError(400, f"model {name!r} is not removable: it is not from the cache", param="model")
        while served.run is not None:
            await self._models.unload(served)
        await asyncio.get_running_loop().run_in_executor(None, _remove, name)
        await self._models.reload()
        self._models.events.send(name, "model_remove")

    async def close(self) -> None:
        """Cancels all."""
        for download in list(self.running.values()):
            download.cancel()
            if download.task is not None:
                await asyncio.wait({download.task})

    def listed(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and progress of all."""
        return [(name, {download.file: download.progress}) for name, download in sorted(self.running.items())]


def _remove(name: str) -> None:
    for model in hub.cached_models():
        if model.name == name:
            hub.remove(model)
