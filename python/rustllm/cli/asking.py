"""What `run` and `chat` have in common: the model, and the settings of its answers."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rustllm.flags.command import add_engine_flags, engine_settings, reader
from rustllm.flags.kinds import Switch
from rustllm.flags.sampling import SAMPLING

if TYPE_CHECKING:
    from rustllm import LLM, SamplingParams

#: Settings of the engine that there are flags for, with what is taken without them.
ENGINE_DEFAULTS: dict[str, Any] = {
    "n_ctx": 0,
    "n_batch": 2048,
    "n_threads": 0,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of the model and of answers, with the server's names."""
    model = "a GGUF file, or USER/REPO:QUANT from the Hugging Face hub; without it the embedded story model"
    parser.add_argument("-m", "--model", "-hf", "--hf-repo", metavar="MODEL", help=model)
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument("--chat-template", metavar="TEMPLATE", help="Jinja text or a built-in name")
    schema = "hold the answer to this JSON schema: its text, or @FILE"
    parser.add_argument("-j", "--json-schema", metavar="SCHEMA", help=schema)
    parser.add_argument("--grammar", metavar="GBNF", help="hold the answer to this grammar: its text, or @FILE")
    parser.add_argument("--no-think", action="store_true", help="ask models that think to answer at once")
    add_engine_flags(parser, ENGINE_DEFAULTS)
    settings = parser.add_argument_group("settings of the answer")
    for flag in SAMPLING:
        # Switches, samplers by letter and whatever else has no single value are the server's alone.
        if _field(flag.target) is not None and not isinstance(flag.kind, Switch) and not flag.repeats:
            settings.add_argument(
                *flag.names,
                dest=flag.target,
                type=reader(flag),
                metavar=flag.metavar,
                help=f"{flag.help} ({flag.default})".replace("%", "%%"),
            )


def load(options: argparse.Namespace) -> LLM:
    """The model that is asked for. Raises what LLM raises."""
    from rustllm import LLM

    settings = engine_settings(options, ENGINE_DEFAULTS)
    settings["n_ctx"] = settings["n_ctx"] or None
    return LLM(options.model, n_parallel=1, chat_template=options.chat_template, **settings)


def sampling_params(options: argparse.Namespace) -> SamplingParams:
    """The settings of answers, checked. Raises InvalidRequestError, OSError."""
    from rustllm import SamplingParams

    values = {_field(flag.target): getattr(options, flag.target, None) for flag in SAMPLING}
    given = {str(name): value for name, value in values.items() if name is not None and value is not None}
    for name in ("max_tokens", "seed"):
        # The flags' way to say that there is none.
        if given.get(name) == -1:
            del given[name]
    return SamplingParams(**given, grammar=text_of(options.grammar), json_schema=text_of(options.json_schema))


def text_of(value: str | None) -> str | None:
    """A text that is given itself, or as the name of a file behind an @."""
    if value is None or not value.startswith("@"):
        return value
    return Path(value[1:]).read_text(encoding="utf-8")


def opening(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What a conversation begins with."""
    return [] if options.system is None else [{"role": "system", "content": options.system}]


def chat_options(options: argparse.Namespace) -> dict[str, Any]:
    """What else a chat is asked with."""
    return {"enable_thinking": False} if options.no_think else {}


def note(text: str) -> None:
    """Says something that is not part of the answer."""
    print(text, file=sys.stderr)


def _field(target: str) -> str | None:
    """The field of SamplingParams that a flag sets, if any. Grammars and schemas have flags of their own here."""
    from rustllm import SamplingParams

    name = {"n_predict": "max_tokens"}.get(target.removeprefix("sampling."), target.removeprefix("sampling."))
    names = {field.name for field in dataclasses.fields(SamplingParams)} - {"grammar", "json_schema"}
    return name if name in names else None
