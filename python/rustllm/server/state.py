"""What the routes share: the settings and, once it is loaded, the model."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from rustllm._rustllm import Engine
from rustllm.chat.template import ChatTemplate
from rustllm.config import ServerSettings
from rustllm.engine import AsyncEngine
from rustllm.server.accounts import Accounts, current
from rustllm.server.errors import ApiError
from rustllm.server.fair_queue import FairQueue
from rustllm.server.held_bodies import HeldBodies
from rustllm.server.resumable import Streams

if TYPE_CHECKING:
    from rustllm.server.native.metrics.service import Metrics
    from rustllm.server.router_mode.link import Link
    from rustllm.server.sleep import Sleep

T = TypeVar("T")

#: Input of more characters than this is tokenized, rendered and parsed off the loop's thread.
INLINE_CHARS = 4096

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")


@dataclass
class Model:
    """A loaded model with what the server knows of it."""

    engine: AsyncEngine
    template: ChatTemplate
    #: What the template supports, as it was found out when the model was loaded.
    template_caps: dict[str, bool]
    path: str
    name: str
    #: Whose turn it is, where there are several keys: of answers, and of texts to embed.
    turns: FairQueue | None = None
    embedding_turns: FairQueue | None = None
    created: int = field(default_factory=lambda: int(time()))

    @property
    def native(self) -> Engine:
        """The native engine."""
        return self.engine.engine

    def with_engine(self, engine: AsyncEngine) -> Model:
        """The same model, loaded anew."""
        return replace(self, engine=engine)


class ServerState:
    """The state of one server process."""

    def __init__(self, settings: ServerSettings, accounts: Accounts | None = None) -> None:
        self.settings = settings
        self.model: Model | None = None
        self.failure: str | None = None
        #: Ends the process where it cannot go on serving, with the reason; None where the process is not a server's.
        self.end: Callable[[str], None] | None = None
        self.draining = False
        self.workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="rustllm-text")
        #: For work that waits for disks and for slots to be free.
        self.files = ThreadPoolExecutor(max_workers=8, thread_name_prefix="rustllm-files")
        #: Whether the model is unloaded until the next request.
        self.sleeping = False
        self.sleep: Sleep | None = None
        self.started = time()
        #: The keys, and what each has asked for.
        self.accounts = Accounts(settings.api_keys) if accounts is None else accounts
        #: The bodies of requests that are being answered.
        self.bodies = HeldBodies(settings.limits, lambda: self.pace)
        #: The streams that clients may come back to.
        self.streams = Streams()
        #: To the router that has started this process, if one has.
        self.link: Link | None = None
        #: What `/metrics` shows; None where it is switched off.
        self.metrics: Metrics | None = None
        #: The weight of each adapter in requests that name none. They outlive an engine that sleeps.
        self.adapter_scales = [0.0 if settings.lora_init_without_apply else scale for _, scale in settings.lora]
        #: What engines that are gone have counted.
        self.past_counts: list[dict[str, Any]] = []

    def request_defaults(self) -> dict[str, Any]:
        """What `SamplingParams` a request gets for the fields that it does not name."""
        return {**self.settings.sampling_defaults, "lora": self.lora}

    def salted(self, cache_salt: str | None = None) -> str:
        """What keeps a request's texts apart from others' in the cache: its own salt and, where keys share nothing,
        the name of its key, in which there is no blank."""
        account = current.get() if self.settings.cache_per_key else None
        return (cache_salt or "") if account is None else f"{account.name} {cache_salt or ''}"

    @property
    def lora(self) -> list[tuple[int, float]]:
        """The adapters of requests that name none: pairs of number and weight."""
        return list(enumerate(self.adapter_scales))

    @property
    def pace(self) -> float:
        """Seconds until a request ends, while all slots are busy."""
        return 1.0 if self.model is None else self.model.engine.pace.seconds

    def require_model(self) -> Model:
        """The model, or 503 while there is none."""
        if self.draining:
            raise ApiError(503, "the server is shutting down")
        if self.model is None:
            raise ApiError(503, "Loading model")
        if not self.sleeping and not self.model.native.is_alive():
            raise ApiError(503, "the engine has failed")
        return self.model

    async def awake_model(self) -> Model:
        """The model, ready to run; one that sleeps is loaded first."""
        self.require_model()
        if self.sleeping and self.sleep is not None:
            await self.sleep.wake()
        return self.require_model()

    def watch(self, native: Engine) -> AsyncEngine:
        """The engine on the running loop."""
        engine = AsyncEngine(native, self.settings.limits["request_seconds"], self._engine_lost)
        engine.start()
        return engine

    def _engine_lost(self) -> None:
        # A server that ends has its engine end as well.
        if self.end is not None and not self.draining:
            self.end("the engine has failed; a supervisor should start the server again")

    def retire(self, model: Model) -> None:
        """Keeps the counts of an engine that has ended."""
        self.past_counts.append(model.native.stats())

    async def off_loop(self, size: int, work: Callable[[], T]) -> T:
        """Runs `work`, on a worker thread if its input of `size` characters could take long."""
        if size <= INLINE_CHARS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)
