"""From settings to a loaded model: its engine and its chat template."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rustllm._rustllm import Engine
from rustllm.chat.builtin import CHATML
from rustllm.chat.template import ChatTemplate, TemplateError
from rustllm.config import ServerSettings

log = logging.getLogger("rustllm.model")


def load_engine(settings: ServerSettings, progress: Callable[[float], bool] | None = None) -> Engine:
    """Loads the model that the settings name; `progress` hears the part that is done and may stop it."""
    engine = Engine.load(
        settings.model_path,
        n_ctx=settings.n_ctx,
        fit=settings.fit,
        fit_target=None if settings.fit_target is None else settings.fit_target << 20,
        fit_ctx=settings.fit_ctx,
        fit_shortens=settings.fit_shortens,
        n_parallel=settings.n_parallel,
        kv_unified=settings.kv_unified,
        n_batch=settings.n_batch,
        n_threads=settings.n_threads,
        cache_type_k=settings.cache_type_k,
        cache_type_v=settings.cache_type_v,
        max_queue=settings.limits["queue"],
        max_mask_ms=settings.limits["mask_ms"],
        pooling=settings.pooling,
        context_shift=settings.context_shift,
        lora=[path for path, _ in settings.lora],
        progress=progress,
    )
    if engine.n_ctx < engine.n_ctx_wanted:
        log.warning(
            "the context is %d tokens instead of %d, for which there is no memory; see --fit",
            engine.n_ctx,
            engine.n_ctx_wanted,
        )
    return engine


def make_template(settings: ServerSettings, engine: Engine) -> ChatTemplate:
    """The operator's template, else the model's own, else ChatML. Raises TemplateError."""
    tokenizer = engine.tokenizer

    def text(token: int | None) -> str:
        return "" if token is None else tokenizer.raw_text(token)

    own = engine.metadata.get("tokenizer.chat_template")
    source = settings.chat_template or (own if isinstance(own, str) and own else CHATML)
    try:
        template = ChatTemplate(source, text(tokenizer.bos), text(tokenizer.eos), jinja=settings.jinja)
        template.check()
        return template
    except TemplateError as error:
        if settings.chat_template:
            raise
        log.warning("the model's chat template is not usable, ChatML is used instead: %s", error)
        return ChatTemplate(CHATML, text(tokenizer.bos), text(tokenizer.eos))
