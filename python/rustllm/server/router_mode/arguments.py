"""What the process of a model inherits of the router's command line and environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rustllm.flags.parse import FLAGS
from rustllm.flags.table import AnyFlag, Flag
from rustllm.server.router_mode.link import KEYS_VARIABLE, VARIABLE

#: Settings that the router has for itself, or that it makes for each model.
ROUTERS_OWN = frozenset(
    {
        *("model", "hf_repo", "hf_file", "hf_token", "aliases", "tags", "host", "port", "api_prefix", "static_path"),
        *("api_keys", "api_key_file", "cors_origins", "allowed_hosts", "ssl_key_file", "ssl_cert_file"),
        *("models_dir", "models_preset", "models_max", "models_autoload"),
    }
)


def inherited(line: Iterable[tuple[AnyFlag, list[str]]]) -> list[str]:
    """The arguments of the router's command line that each model gets."""
    return [word for flag, words in line if isinstance(flag, Flag) and not is_routers(flag) for word in words]


def is_routers(flag: AnyFlag) -> bool:
    """Whether a flag is the router's own."""
    return isinstance(flag, Flag) and flag.target in ROUTERS_OWN


def environment(environ: Mapping[str, str], token: str | None, keys: Path | None = None) -> dict[str, str]:
    """The environment of a child. Tokens go here, since command lines are open to all users; `keys` is the directory
    that says what each key may ask for."""
    own = {name for flag in FLAGS if is_routers(flag) and isinstance(flag, Flag) for name in flag.envs}
    own |= {name.replace("LLAMA_ARG_", "LLAMA_ARG_NO_", 1) for name in own}
    kept = {name: value for name, value in environ.items() if name not in own}
    kept.pop(KEYS_VARIABLE, None)
    more = {"HF_TOKEN": token, KEYS_VARIABLE: None if keys is None else str(keys)}
    return {**kept, VARIABLE: "1", **{name: value for name, value in more.items() if value}}
