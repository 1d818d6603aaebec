"""Settings of a server, from flags and environment variables with llama-server's names.

The flags are data: one row in `FLAGS` each. A flag that means nothing here is accepted with one
warning line (`IGNORED`); one that would change answers is refused (`REFUSED`).
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

#: The model that comes with the package.
EMBEDDED_MODEL = Path(__file__).parent / "models" / "stories260K.gguf"


class SettingsError(ValueError):
    """A setting is unknown or out of range."""


@dataclass(frozen=True)
class ServerSettings:
    """Everything that a server process is told when it starts."""

    model: str | None = None
    hf_repo: str | None = None
    hf_file: str | None = None
    hf_token: str | None = None
    offline: bool = False
    alias: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    api_prefix: str = ""
    n_ctx: int = 0
    n_parallel: int | None = None
    n_batch: int = 2048
    n_threads: int = 0
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    chat_template: str | None = None
    jinja: bool = True
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    slots: bool = True
    strict_schema: bool = False
    max_queue: int = 512
    max_body_bytes: int = 32 << 20
    verbose: bool = False
    log_file: str | None = None
    log_format: str = "text"
    #: Lines to show at the start: flags that were accepted and mean nothing.
    warnings: tuple[str, ...] = ()

    @property
    def model_path(self) -> str:
        """The file to load; the embedded model where none was named."""
        return self.model or str(EMBEDDED_MODEL)


Parser = Callable[[str], Any]


@dataclass(frozen=True)
class Flag:
    """One flag. `field` is a field of ServerSettings, or `sampling.NAME` for a default of requests."""

    names: tuple[str, ...]
    field: str
    parse: Parser | None
    help: str
    env: str | None = None
    #: The value that the flag stands for when it takes none.
    const: Any = None
    metavar: str | None = None


def _integer(least: int, most: int) -> Parser:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is out of range; allowed: {least} to {most}")
        return value

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _choice(*allowed: str) -> Parser:
    def parse(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {', '.join(allowed)}")
        return text

    return parse


def _commas(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seed(text: str) -> int:
    value: int = _integer(-1, 0xFFFF_FFFF)(text)
    return 0xFFFF_FFFF if value == -1 else value


def _samplers(text: str) -> list[str]:
    return [name.strip() for name in text.split(";") if name.strip()]


def _json_object(text: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def _file_text(text: str) -> str:
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error}") from None


def _key_file(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in _file_text(text).splitlines() if line.strip())


_BIG = 2**31 - 1

FLAGS: tuple[Flag, ...] = (
    Flag(
        ("-m", "--model"),
        "model",
        str,
        "GGUF file to serve; without it the embedded story model",
        "LLAMA_ARG_MODEL",
    ),
    Flag(
        ("-hf", "-hfr", "--hf-repo"),
        "hf_repo",
        str,
        "user/repo[:quant] to download and serve",
        "LLAMA_ARG_HF_REPO",
    ),
    Flag(("-hff", "--hf-file"), "hf_file", str, "file of --hf-repo, instead of a quant", "LLAMA_ARG_HF_FILE"),
    Flag(("-hft", "--hf-token"), "hf_token", str, "access token for --hf-repo", "HF_TOKEN"),
    Flag(("--offline",), "offline", None, "use what is in the cache only", "LLAMA_ARG_OFFLINE", True),
    Flag(("-a", "--alias"), "alias", str, "name of the model in answers", "LLAMA_ARG_ALIAS"),
    Flag(("--host",), "host", str, "address to listen on", "LLAMA_ARG_HOST"),
    Flag(("--port",), "port", _integer(0, 65535), "port to listen on", "LLAMA_ARG_PORT"),
    Flag(("--api-prefix",), "api_prefix", str, "path before every route", "LLAMA_ARG_API_PREFIX"),
    Flag(
        ("-c", "--ctx-size"),
        "n_ctx",
        _integer(0, _BIG),
        "context tokens over all slots; 0: the model's",
        "LLAMA_ARG_CTX_SIZE",
    ),
    Flag(
        ("-np", "--parallel"),
        "n_parallel",
        _integer(-1, 1024),
        "slots, which divide the context; -1: 4 slots that share it",
        "LLAMA_ARG_N_PARALLEL",
    ),
    Flag(("-b", "--batch-size"), "n_batch", _integer(1, 65536), "most tokens of a step", "LLAMA_ARG_BATCH"),
    Flag(
        ("-t", "--threads"),
        "n_threads",
        _integer(-1, 1024),
        "compute threads; 0 or -1: all cores",
        "LLAMA_ARG_THREADS",
    ),
    Flag(
        ("-ctk", "--cache-type-k"),
        "cache_type_k",
        _choice("f16", "f32"),
        "type of cached keys",
        "LLAMA_ARG_CACHE_TYPE_K",
    ),
    Flag(
        ("-ctv", "--cache-type-v"),
        "cache_type_v",
        _choice("f16", "f32"),
        "type of cached values",
        "LLAMA_ARG_CACHE_TYPE_V",
    ),
    Flag(("--api-key",), "api_keys", _commas, "keys that clients must send, by commas", "LLAMA_API_KEY"),
    Flag(("--api-key-file",), "api_keys", _key_file, "file with one key a line"),
    Flag(("--cors-origins",), "cors_origins", _commas, "web origins beyond localhost, by commas; * is all"),
    Flag(
        ("--chat-template",),
        "chat_template",
        str,
        "name of a built-in template, or jinja text",
        "LLAMA_ARG_CHAT_TEMPLATE",
    ),
    Flag(
        ("--chat-template-file",),
        "chat_template",
        _file_text,
        "file with a jinja template",
        "LLAMA_ARG_CHAT_TEMPLATE_FILE",
    ),
    Flag(
        ("--chat-template-kwargs",),
        "template_kwargs",
        _json_object,
        "JSON object of keywords for the template",
        "LLAMA_CHAT_TEMPLATE_KWARGS",
    ),
    Flag(("--jinja",), "jinja", None, "render templates (default)", "LLAMA_ARG_JINJA", True),
    Flag(("--no-jinja",), "jinja", None, "use built-in formats only", None, False),
    Flag(("--slots",), "slots", None, "serve /slots (default)", "LLAMA_ARG_ENDPOINT_SLOTS", True),
    Flag(("--no-slots",), "slots", None, "do not serve /slots", None, False),
    Flag(
        ("--strict-schema",),
        "strict_schema",
        None,
        "refuse JSON schemas that cannot be enforced in full",
        None,
        True,
    ),
    Flag(("--max-queue",), "max_queue", _integer(0, 1_000_000), "requests that may wait for a slot"),
    Flag(("--max-body-bytes",), "max_body_bytes", _integer(1024, 1 << 40), "largest request body"),
    Flag(
        ("-v", "--verbose", "--log-verbose"),
        "verbose",
        None,
        "log more, and add __verbose to answers",
        None,
        True,
    ),
    Flag(("--log-file",), "log_file", str, "write the log to a file", "LLAMA_LOG_FILE"),
    Flag(("--log-format",), "log_format", _choice("text", "json"), "form of log lines"),
    Flag(
        ("-n", "--predict", "--n-predict"),
        "sampling.n_predict",
        _integer(-1, _BIG),
        "tokens to generate; -1: no limit",
        "LLAMA_ARG_N_PREDICT",
    ),
    Flag(("--keep",), "sampling.n_keep", _integer(-1, _BIG), "prompt tokens kept on a context shift"),
    Flag(("-s", "--seed"), "sampling.seed", _seed, "seed; -1: random"),
    Flag(("--temp", "--temperature"), "sampling.temperature", _number, "temperature; 0: greedy"),
    Flag(("--top-k",), "sampling.top_k", _integer(-_BIG, _BIG), "top-k; 0: off", "LLAMA_ARG_TOP_K"),
    Flag(("--top-p",), "sampling.top_p", _number, "top-p; 1: off"),
    Flag(("--min-p",), "sampling.min_p", _number, "min-p; 0: off"),
    Flag(("--top-nsigma", "--top-n-sigma"), "sampling.top_n_sigma", _number, "top-n-sigma; -1: off"),
    Flag(("--xtc-probability",), "sampling.xtc_probability", _number, "XTC probability; 0: off"),
    Flag(("--xtc-threshold",), "sampling.xtc_threshold", _number, "XTC threshold"),
    Flag(("--typical", "--typical-p"), "sampling.typical_p", _number, "locally typical sampling; 1: off"),
    Flag(("--repeat-last-n",), "sampling.repeat_last_n", _integer(-1, _BIG), "tokens looked at by penalties"),
    Flag(("--repeat-penalty",), "sampling.repeat_penalty", _number, "repetition penalty; 1: off"),
    Flag(("--presence-penalty",), "sampling.presence_penalty", _number, "presence penalty; 0: off"),
    Flag(("--frequency-penalty",), "sampling.frequency_penalty", _number, "frequency penalty; 0: off"),
    Flag(("--dry-multiplier",), "sampling.dry_multiplier", _number, "DRY multiplier; 0: off"),
    Flag(("--dry-base",), "sampling.dry_base", _number, "DRY base"),
    Flag(
        ("--dry-allowed-length",),
        "sampling.dry_allowed_length",
        _integer(0, _BIG),
        "DRY: length that is free",
    ),
    Flag(("--dry-penalty-last-n",), "sampling.dry_penalty_last_n", _integer(-1, _BIG), "DRY: tokens looked at"),
    Flag(("--adaptive-target",), "sampling.adaptive_target", _number, "adaptive-p target; negative: off"),
    Flag(("--adaptive-decay",), "sampling.adaptive_decay", _number, "adaptive-p decay"),
    Flag(("--dynatemp-range",), "sampling.dynatemp_range", _number, "range of the dynamic temperature; 0: off"),
    Flag(("--dynatemp-exp",), "sampling.dynatemp_exponent", _number, "exponent of the dynamic temperature"),
    Flag(("--mirostat",), "sampling.mirostat", _integer(0, 2), "mirostat version; 0: off"),
    Flag(("--mirostat-lr",), "sampling.mirostat_eta", _number, "mirostat learning rate"),
    Flag(("--mirostat-ent",), "sampling.mirostat_tau", _number, "mirostat target entropy"),
    Flag(("--samplers",), "sampling.samplers", _samplers, "stages in order, by semicolons"),
    Flag(("--ignore-eos",), "sampling.ignore_eos", None, "never end by itself", None, True),
)

#: Flags of llama-server that make no difference here, with the number of values they take.
IGNORED: Mapping[str, int] = {
    **dict.fromkeys(("-ngl", "--gpu-layers", "--n-gpu-layers", "-ub", "--ubatch-size", "-tb", "--threads-batch"), 1),
    **dict.fromkeys(
        ("-fa", "--flash-attn", "--numa", "--prio", "--poll", "-C", "--cpu-mask", "-sm", "--split-mode"), 1
    ),
    **dict.fromkeys(("-ts", "--tensor-split", "-mg", "--main-gpu", "-dev", "--device", "-dt", "--defrag-thold"), 1),
    **dict.fromkeys(("--threads-http", "-to", "--timeout", "--cache-reuse", "-cram", "--cache-ram", "-lv"), 1),
    **dict.fromkeys(("-sps", "--slot-prompt-similarity", "--reasoning-format", "--reasoning-budget", "--verbosity"), 1),
    **dict.fromkeys(("--mlock", "--no-mmap", "--mmap", "--no-warmup", "--warmup", "-cb", "--cont-batching"), 0),
    **dict.fromkeys(("--no-webui", "--metrics", "--props", "--no-context-shift", "--no-perf", "--perf", "-kvu"), 0),
    **dict.fromkeys(("--kv-unified", "--log-disable", "--log-timestamps", "--log-prefix", "-nkvo", "--no-repack"), 0),
}

#: Flags whose absence here would change answers, with the reason.
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("--lora", "--lora-scaled", "--control-vector"), "adapters are not supported"),
    **dict.fromkeys(
        ("--rope-scaling", "--rope-scale", "--rope-freq-base", "--rope-freq-scale"),
        "the model file decides its rotary embedding",
    ),
    **dict.fromkeys(("--override-kv",), "the model file is taken as it is"),
    **dict.fromkeys(("-md", "--model-draft"), "draft models are not supported"),
    **dict.fromkeys(
        ("--embedding", "--embeddings", "--rerank", "--reranking", "--pooling"),
        "embedding models are not supported",
    ),
    **dict.fromkeys(("--mmproj", "-mm"), "images are not supported"),
    **dict.fromkeys(("--context-shift", "-gan", "-gaw"), "the context is not shifted"),
    **dict.fromkeys(("--grammar", "--grammar-file", "-j", "--json-schema"), "send the grammar with each request"),
    **dict.fromkeys(("--ssl-key-file", "--ssl-cert-file"), "put a TLS proxy in front"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of all flags; values that were not given are absent from its result."""
    from rustllm._rustllm import __version__

    parser = _Parser(
        prog=prog,
        description="Serves a GGUF model over HTTP, with llama-server's flags and endpoints.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rustllm {__version__}")
    for flag in FLAGS:
        text = flag.help.replace("%", "%%") + (f" [{flag.env}]" if flag.env else "")
        if flag.parse is None:
            parser.add_argument(*flag.names, dest=flag.field, action="store_const", const=flag.const, help=text)
        else:
            name = flag.names[-1].lstrip("-").upper().replace("-", "_")
            parser.add_argument(*flag.names, dest=flag.field, type=flag.parse, metavar=flag.metavar or name, help=text)
    return parser


def parse_settings(
    arguments: Sequence[str], environ: Mapping[str, str] | None = None, prog: str = "rustllm-serve"
) -> ServerSettings:
    """Settings from flags, then environment, then defaults. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    arguments, warnings = _sort_out(list(arguments))
    parser = make_parser(prog)
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise SettingsError(_unknown(unknown[0]))
    values = {**_from_environment(environ), **vars(namespace)}
    sampling = {name.removeprefix("sampling."): v for name, v in values.items() if name.startswith("sampling.")}
    plain = {name: value for name, value in values.items() if not name.startswith("sampling.")}
    _check_sampling(sampling)
    for name in ("n_parallel", "n_threads"):
        if plain.get(name) == -1:
            plain[name] = {"n_parallel": None, "n_threads": 0}[name]
    if plain.get("n_parallel") == 0:
        raise SettingsError("argument -np/--parallel: 0 is out of range; allowed: -1, 1 to 1024")
    return ServerSettings(**plain, sampling_defaults=sampling, warnings=tuple(warnings))


def _sort_out(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Takes flags that mean nothing out, with a warning each; refuses those that would matter."""
    kept: list[str] = []
    warnings = []
    rest = iter(arguments)
    for argument in rest:
        name = argument.split("=", 1)[0]
        if name in REFUSED:
            raise SettingsError(f"{name}: {REFUSED[name]}")
        if name not in IGNORED:
            kept.append(argument)
            # The value of a known flag is not a flag, even if it looks like one.
            if _takes_value(name) and "=" not in argument:
                kept += [value for value in [next(rest, None)] if value is not None]
            continue
        if IGNORED[name] and "=" not in argument:
            next(rest, None)
        warnings.append(f"{name} has no effect here")
    return kept, warnings


def _takes_value(name: str) -> bool:
    return any(name in flag.names and flag.parse is not None for flag in FLAGS)


def _unknown(argument: str) -> str:
    names = [name for flag in FLAGS for name in flag.names] + [*IGNORED, *REFUSED]
    name = argument.split("=", 1)[0]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"unknown argument: {name}" + (f" (did you mean {near[0]}?)" if near else "")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text = environ.get(flag.env, "") if flag.env else ""
        if not text:
            continue
        try:
            values[flag.field] = flag.parse(text) if flag.parse else _switch(text)
        except argparse.ArgumentTypeError as error:
            raise SettingsError(f"environment variable {flag.env}: {error}") from None
    return values


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "on", "enabled", "yes"):
        return True
    if text.lower() in ("0", "false", "off", "disabled", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not a switch; allowed: 1, 0, true, false, on, off")


def _check_sampling(sampling: Mapping[str, Any]) -> None:
    from rustllm._rustllm import InvalidRequestError, SamplingParams

    try:
        SamplingParams(**sampling)
    except InvalidRequestError as error:
        raise SettingsError(str(error)) from None
