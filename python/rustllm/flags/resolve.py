"""From values by target to the fields of `ServerSettings`: what depends on files or on other flags."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rustllm._rustllm import SAMPLERS
from rustllm.flags.kinds import JsonObject
from rustllm.flags.limited import PREFIX
from rustllm.flags.parse import UsageError
from rustllm.keys import ApiKey, KeyFileError, named, read_keys
from rustllm.limits import Limits

#: Longest template, grammar, schema or key file that is read.
MAX_FILE_BYTES = 16 * 1024 * 1024

#: Bytes of a Unix socket's path, which systems cannot exceed.
MAX_SOCKET_BYTES = 103

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

#: What `--allowed-hosts` takes.
HOST_NAME = re.compile(r"\*|(\*\.)?[\w-]+(\.[\w-]+)*\.?", re.ASCII)

RANDOM_SEED = 0xFFFF_FFFF

#: The stages of the sampler chain by letter, as the engine names them.
SAMPLER_LETTERS = {letter: name for letter, name, _ in SAMPLERS}
_SAMPLERS = {spelling: name for _, name, others in SAMPLERS for spelling in (name, *others)}

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}


def resolve(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of `ServerSettings`, from what was given. Raises UsageError."""
    # Showing help or the version is a command, which the caller has answered before.
    values = {target: value for target, value in given.items() if target not in ("help", "version")}
    sampling = {target: values.pop(target) for target in list(values) if target.startswith("sampling.")}
    limits = {target: values.pop(target) for target in list(values) if target.startswith(PREFIX)}
    values["limits"] = Limits({target.removeprefix(PREFIX): value for target, value in limits.items()})
    escape = values.pop("escape", True)
    for step in (
        _model,
        _adapters,
        _slots,
        _embeddings,
        _keys,
        _template,
        _grammar,
        _log,
        _network,
        _directories,
        _pages,
    ):
        step(values)
    values["sampling_defaults"] = _sampling({name.removeprefix("sampling."): v for name, v in sampling.items()}, escape)
    return values


def _model(values: dict[str, Any]) -> None:
    if values.get("model") and values.get("hf_repo"):
        raise UsageError("-m and -hf both name a model; give one of them")
    if values.get("hf_file") and not values.get("hf_repo"):
        raise UsageError("-hff names a file of a repository; give the repository with -hf")
    if (repo := values.get("hf_repo")) and not REPOSITORY.fullmatch(repo):
        raise UsageError(f"-hf: {repo!r} is not allowed; allowed: USER/REPO or USER/REPO:QUANT")
    if "model" in values:
        values["model"] = Path(values["model"]).expanduser()
    if "aliases" in values:
        values["aliases"] = tuple(dict.fromkeys(values["aliases"]))
    if values.get("n_threads", 0) < 0:
        values["n_threads"] = 0


def _adapters(values: dict[str, Any]) -> None:
    adapters = [(Path(os.path.expanduser(path)), scale) for group in values.get("lora", ()) for path, scale in group]
    for path, _ in adapters:
        if not os.path.isfile(path):
            raise UsageError(f"--lora: {str(path)!r} is not a file")
    values["lora"] = tuple(adapters)


def _slots(values: dict[str, Any]) -> None:
    if values.get("n_parallel") == -1:
        values["n_parallel"] = None


def _embeddings(values: dict[str, Any]) -> None:
    if values.get("reranking"):
        if values.get("pooling", "rank") != "rank":
            raise UsageError(f"--rerank: it needs the pooling rank, not --pooling {values['pooling']}")
        values["pooling"] = "rank"


def _keys(values: dict[str, Any]) -> None:
    path = values.pop("api_key_file", None)
    keys = [ApiKey(key) for key in values.get("api_keys", ())]
    try:
        if path is not None:
            found = read_keys(_file("--api-key-file", path))
            if not found:
                # An empty file must not open the server to everyone.
                raise UsageError(f"--api-key-file: {path} has no keys")
            keys += found
        values["api_keys"] = named(keys)
    except KeyFileError as error:
        raise UsageError(f"--api-key-file: {path}: {error}") from None


def _template(values: dict[str, Any]) -> None:
    if path := values.get("chat_template_file"):
        if values.get("chat_template") is not None:
            raise UsageError("--chat-template and --chat-template-file exclude each other; give one of them")
        values["chat_template"] = _file("--chat-template-file", path)
        values["chat_template_file"] = Path(path)
    kwargs = dict(values.pop("template_kwargs", {}))
    effort = values.pop("reasoning_effort", "default")
    if effort != "default":
        kwargs.setdefault("reasoning_effort", effort)
    if (preserve := values.pop("reasoning_preserve", None)) is not None:
        kwargs.setdefault("preserve_reasoning", preserve)
    reasoning, budget = values.get("reasoning", "auto"), values.get("reasoning_budget", -1)
    if reasoning == "off" or budget == 0:
        kwargs.setdefault("enable_thinking", False)
    elif reasoning == "on":
        kwargs.setdefault("enable_thinking", True)
    values["template_kwargs"] = kwargs


def _grammar(values: dict[str, Any]) -> None:
    sources: list[tuple[str, tuple[str, str]]] = []
    for target, name, kind, is_file in (
        ("grammar_text", "--grammar", "gbnf", False),
        ("grammar_file", "--grammar-file", "gbnf", True),
        ("json_schema", "--json-schema", "json_schema", False),
        ("json_schema_file", "--json-schema-file", "json_schema", True),
    ):
        if given := values.pop(target, None):
            text = _file(name, given) if is_file else given
            if kind == "json_schema":
                _check_json(name, text)
            sources.append((name, (kind, text)))
    if len(sources) > 1:
        raise UsageError(f"{sources[0][0]} and {sources[1][0]} exclude each other; give one of them")
    if sources:
        values["grammar_flag"], values["grammar"] = sources[0]


def _check_json(name: str, text: str) -> None:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: this is not JSON: {error}") from None


def _log(values: dict[str, Any]) -> None:
    if values.pop("log_jsonl", False):
        values.setdefault("log_format", "json")
    if values.pop("verbose", False):
        values["verbosity"] = max(2**31 - 1, values.get("verbosity", 0))
    if values.pop("log_disable", False):
        values["verbosity"] = 0
    if "log_file" in values:
        values["log_file"] = Path(values["log_file"]).expanduser()


def _network(values: dict[str, Any]) -> None:
    host = values.get("host")
    if host is not None and ("," in host or not host.strip()):
        allowed = "one address, one host name, or the path of a Unix socket that ends in .sock"
        raise UsageError(f"--host: {host!r} is not allowed; allowed: {allowed}")
    if host is not None and host.endswith(".sock"):
        _check_socket(host)
    prefix = values.get("api_prefix", "").rstrip("/")
    if prefix and not prefix.startswith("/"):
        raise UsageError(f"--api-prefix: {prefix!r} is not allowed; allowed: a path that starts with /")
    values["api_prefix"] = prefix
    if values.get("cors_origins") == ("localhost",):
        values["cors_origins"] = ()
    for name in values.get("allowed_hosts", ()):
        if not HOST_NAME.fullmatch(name):
            allowed = "names without scheme and port, such as llm.example.org, *.example.org or *"
            raise UsageError(f"--allowed-hosts: {name!r:.60} is not allowed; allowed: {allowed}")
    for target in ("ssl_key_file", "ssl_cert_file"):
        if target in values:
            values[target] = Path(values[target])
            if not values[target].is_file():
                raise UsageError(f"--{target.replace('_', '-')}: {values[target]} is not a file")
    if ("ssl_key_file" in values) != ("ssl_cert_file" in values):
        raise UsageError("--ssl-key-file and --ssl-cert-file belong together; give both")


def _check_socket(path: str) -> None:
    directory = Path(path).parent
    if not directory.is_dir():
        raise UsageError(f"--host: {directory} is not a directory")
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise UsageError(f"--host: {path!r:.60} is too long; a socket's path has up to {MAX_SOCKET_BYTES} bytes")


def _directories(values: dict[str, Any]) -> None:
    names = {"slot_save_path": "--slot-save-path", "static_path": "--path", "models_dir": "--models-dir"}
    for target, name in names.items():
        if target in values:
            values[target] = Path(values[target]).expanduser()
            if not values[target].is_dir():
                raise UsageError(f"{name}: {values[target]} is not a directory")
    if "models_preset" in values:
        values["models_preset"] = Path(values["models_preset"]).expanduser()
        if not values["models_preset"].is_file():
            raise UsageError(f"--models-preset: {values['models_preset']} is not a file")


def _pages(values: dict[str, Any]) -> None:
    path = values.pop("ui_settings_file", None)
    if path is None:
        return
    if values.get("ui_settings"):
        raise UsageError("--ui-config and --ui-config-file exclude each other; give one of them")
    text = _file("--ui-config-file", path)
    try:
        values["ui_settings"] = JsonObject().read(text)
    except ValueError:
        raise UsageError(f"--ui-config-file: {path} does not hold {JsonObject.allowed}") from None


def _sampling(values: dict[str, Any], escape: bool) -> dict[str, Any]:
    if values.get("seed") == -1:
        values["seed"] = RANDOM_SEED
    letters = values.pop("sampler_letters", None)
    if letters is not None and "samplers" not in values:
        values["samplers"] = [_sampler(letter) for letter in letters]
    elif "samplers" in values:
        values["samplers"] = [_sampler(name) for name in values["samplers"]]
    unescape: Callable[[str], str] = unescaped if escape else str
    if (breakers := values.get("dry_sequence_breakers")) is not None:
        values["dry_sequence_breakers"] = [unescape(text) for text in breakers if text != "none"]
    if (stop := values.get("stop")) is not None:
        values["stop"] = [unescape(text) for text in stop]
    if (biases := values.get("logit_bias")) is not None:
        values["logit_bias"] = list(biases)
    return values


def _sampler(name: str) -> str:
    """The engine's name of a sampler. llama-server skips unknown names; on a command line that would hide
    a slip of the pen."""
    if len(name) == 1 and name in SAMPLER_LETTERS:
        return SAMPLER_LETTERS[name]
    plain = _SAMPLERS.get(name.lower().replace("-", "_"))
    if plain is None:
        allowed = ", ".join(f"{letter} = {full}" for letter, full in SAMPLER_LETTERS.items())
        raise UsageError(f"--samplers: {name!r} is not a sampler; allowed: {allowed}")
    return plain


def unescaped(text: str) -> str:
    r"""`text` with \n, \r, \t, quotes, \\ and \xHH read; other backslashes stay."""
    out: list[str] = []
    position = 0
    while position < len(text):
        following = text[position + 1 : position + 2]
        if text[position] != "\\" or not following:
            out.append(text[position])
            position += 1
        elif following in _ESCAPES:
            out.append(_ESCAPES[following])
            position += 2
        elif following == "x" and _is_hex(text[position + 2 : position + 4]):
            out.append(chr(int(text[position + 2 : position + 4], 16)))
            position += 4
        else:
            out.append(text[position])
            position += 1
    return "".join(out)


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(char in "0123456789abcdefABCDEF" for char in text)


def _file(name: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(f"{name}: {path} is larger than {MAX_FILE_BYTES} bytes")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: {path} is not UTF-8: byte {error.start} is at fault") from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(f"{name}: cannot read {path}: {reason}") from None
