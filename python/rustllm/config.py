"""The settings of one server, and how they come from a command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rustllm.flags.parse import Arguments, UsageError, parse
from rustllm.flags.resolve import resolve
from rustllm.keys import ApiKey
from rustllm.limits import Limits

__all__ = ["EMBEDDED_MODEL", "Arguments", "ServerSettings", "UsageError", "parse"]

#: The story model that comes with the package.
EMBEDDED_MODEL = Path(__file__).parent / "models" / "stories260K.gguf"

#: From this verbosity on, answers carry a `__verbose` part, as llama-server's do.
VERBOSE_ANSWERS = 10


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a server is told when it starts. Names and defaults are llama-server's."""

    #: The model file; None is the embedded story model.
    model: Path | None = None
    #: Names of the model in the API, the first of which answers call it by; none take the file's name.
    aliases: tuple[str, ...] = ()
    #: Words about the model for `/v1/models`.
    tags: tuple[str, ...] = ()
    hf_repo: str | None = None
    hf_file: str | None = None
    hf_token: str | None = field(default=None, repr=False)
    offline: bool = False

    #: Directory of models that are served by their names; None serves one model.
    models_dir: Path | None = None
    #: INI file with flags for models by name.
    models_preset: Path | None = None
    #: Models that may be loaded at once; 0 sets no limit.
    models_max: int = 4
    #: Whether a request loads the model that it names.
    models_autoload: bool = True

    #: Context tokens over all slots; 0 takes the model's own.
    n_ctx: int = 0
    #: Whether the cache is fitted into the memory that there is.
    fit: bool = True
    #: MiB that it leaves; None is 1024, but at most an eighth of what there is.
    fit_target: int | None = None
    #: Tokens to which a context without room is shortened at most.
    fit_ctx: int = 4096
    #: Whether it is shortened, not refused; None: if it is the model's own.
    fit_shortens: bool | None = None
    #: Slots; None is four.
    n_parallel: int | None = None
    #: Whether the slots share `n_ctx` instead of dividing it; None: they do if `n_parallel` is None.
    kv_unified: bool | None = None
    n_batch: int = 2048
    #: Compute threads; 0 takes the number of cores.
    n_threads: int = 0
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attn: str = "auto"
    #: LoRA adapters, with their weights in requests that name none.
    lora: tuple[tuple[Path, float], ...] = ()
    #: Whether the adapters start with weight 0.
    lora_init_without_apply: bool = False
    #: Whether a full context drops old text and goes on.
    context_shift: bool = False
    #: Whether `/infill` puts the suffix first.
    spm_infill: bool = False

    #: Whether the embedding endpoints answer; they always do where the model can do nothing else.
    embeddings: bool = False
    #: Whether the rerank endpoints answer, which also sets the pooling.
    reranking: bool = False
    #: How the vectors of a text become one; None takes the model's own.
    pooling: str | None = None
    #: What vectors are divided by: -1 nothing, 0 the largest magnitude, p the p-norm.
    embd_normalize: int = 2

    host: str = "127.0.0.1"
    port: int = 8080
    api_prefix: str = ""
    api_keys: tuple[ApiKey, ...] = ()
    #: Whether keys share nothing in the cache.
    cache_per_key: bool = False
    #: Origins that browsers may call from, beside localhost; `*` is all.
    cors_origins: tuple[str, ...] = ()
    #: Names that requests may ask by, beside localhost and addresses; none are asked for where others than this
    #: machine are listened to, unless some are given. `*` is all.
    allowed_hosts: tuple[str, ...] = ()
    ssl_key_file: Path | None = None
    ssl_cert_file: Path | None = None
    #: Seconds without an event after which a stream sends a comment; -1 never.
    sse_ping_interval: int = 30
    #: What one request may take, and the server as a whole.
    limits: Limits = field(default_factory=Limits)
    #: Whether `/slots` answers.
    slots: bool = True
    #: Whether POST `/props` answers.
    props: bool = False
    #: Whether `/metrics` answers.
    metrics: bool = False
    #: Directory of saved slots; None refuses to save and restore.
    slot_save_path: Path | None = None
    #: Directory of files that are served at `/`, instead of the page.
    static_path: Path | None = None
    #: Whether a page is served at `/`, ours or the operator's.
    webui: bool = True
    #: What the page starts with, instead of its own defaults.
    ui_settings: dict[str, Any] = field(default_factory=dict)
    #: Seconds without a request after which the model is unloaded; -1 never.
    sleep_idle_seconds: int = -1

    #: A template's text or the name of a built-in one; None takes the model's own.
    chat_template: str | None = None
    chat_template_file: Path | None = None
    jinja: bool = True
    prefill_assistant: bool = True
    #: Values handed to the template on each request.
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    #: Names of further template values that a request may set.
    allowed_template_kwargs: tuple[str, ...] = ()
    reasoning: str = "auto"
    #: What becomes of thoughts unless a request says so.
    reasoning_format: str = "auto"
    #: Tokens of a thought; -1 is unlimited.
    reasoning_budget: int = -1
    #: What is written before the end of a thought that has used them up.
    reasoning_budget_message: str = ""
    #: Whether thoughts and calls stay in the text.
    skip_chat_parsing: bool = False

    #: Defaults of each request, by the names of `SamplingParams`.
    sampling_defaults: dict[str, Any] = field(default_factory=dict)
    #: Grammar of each request that names none: (`gbnf` or `json_schema`, its text).
    grammar: tuple[str, str] | None = None
    #: The flag that gave it, for messages.
    grammar_flag: str = "--grammar"
    #: Refuse schemas with keywords that cannot be enforced.
    strict_schema: bool = False

    #: 0 nothing, 1 errors, 2 warnings, 3 one line per request, 4 and more for debugging.
    verbosity: int = 3
    log_file: Path | None = None
    log_format: str = "text"

    @classmethod
    def from_arguments(cls, arguments: Arguments) -> ServerSettings:
        """The settings that a command line asks for. Raises UsageError."""
        return cls(**resolve(arguments.values))

    @property
    def model_path(self) -> Path:
        """The file to load."""
        return self.model or EMBEDDED_MODEL

    @property
    def routes(self) -> bool:
        """Whether several models are served by name. A server that is told of one serves that one, as
        llama-server does."""
        return bool(self.models_dir or self.models_preset) and not (self.model or self.hf_repo)

    @property
    def name(self) -> str:
        """What the API calls the model."""
        return self.aliases[0] if self.aliases else Path(self.model_path).name

    @property
    def verbose(self) -> bool:
        """Whether answers carry a `__verbose` part."""
        return self.verbosity >= VERBOSE_ANSWERS
