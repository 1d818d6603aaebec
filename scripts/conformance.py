"""Writes docs/conformance.md: what each endpoint does with each field, read off the app that serves them.

A field's description begins with "Accepted" where it changes nothing and with "Refused" where it is an error,
and says "only … is supported" where other values are one. `tests/server/test_conformance.py` asks a live server
whether that is so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rustllm.config import ServerSettings
from rustllm.server.app import create_app
from rustllm.server.constraints import ConstraintFields
from rustllm.server.sampling import SamplingFields
from rustllm.server.schema_docs import schema

TARGET = Path(__file__).resolve().parents[1] / "docs/conformance.md"

STATUSES = ("supported", "limited", "ignored", "refused")

#: Fields of OpenAI's and Anthropic's references that have no field here: like any unknown field they change nothing.
UNKNOWN = {
    "/v1/chat/completions": (
        *("audio", "function_call", "functions", "metadata", "modalities", "prediction", "prompt_cache_key"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "user", "verbosity"),
        "web_search_options",
    ),
    "/v1/completions": ("user",),
    "/v1/responses": (
        *("context_management", "max_tool_calls", "prompt_cache_key", "prompt_cache_retention"),
        *("safety_identifier", "service_tier", "stream_options"),
    ),
    "/v1/messages": ("cache_control", "container", "inference_geo"),
}

HEAD = """# Conformance

What each endpoint does with each field. This page is written by `make docs` from the schemas and routes of the
server, and tests ask a live server whether it is true.

- **supported**: it does what it says. A value of another type is refused: status 400, and the error names the field.
- **limited**: only some values are supported; others are refused in the same way.
- **ignored**: accepted, so that clients which send it are served; it changes nothing.
- **refused**: status 400, and the error names the field, since without it the answer would be another one.

Null is the same as not being there. Unknown fields are ignored everywhere.

"""


@dataclass(frozen=True)
class Field:
    """A field of a body, or of the query."""

    #: With dots below another field and `[]` behind lists.
    name: str
    schema: dict[str, Any]
    description: str
    required: bool = False

    @property
    def status(self) -> str:
        """One of STATUSES."""
        if self.description.startswith("Refused"):
            return "refused"
        if self.description.startswith("Accepted"):
            return "ignored"
        return "limited" if re.search(r"\b[Oo]nly .+ (is|are) supported", self.description) else "supported"

    @property
    def type(self) -> str:
        """Its types in words."""
        return " or ".join(dict.fromkeys(_types(self.schema)))


@dataclass(frozen=True)
class Endpoint:
    """A method with paths that mean the same."""

    method: str
    paths: tuple[str, ...]
    about: str
    #: Of the body, in its order; those below others are behind them.
    fields: tuple[Field, ...]
    query: tuple[Field, ...]

    @property
    def name(self) -> str:
        """Method and first path."""
        return f"{self.method} {self.paths[0]}"

    @cached_property
    def samples(self) -> bool:
        """Whether it has all fields of sampling."""
        return {field.name for field in SAMPLING} <= {field.name for field in self.fields}

    @property
    def own(self) -> list[Field]:
        """Its fields without those of sampling, as far as they are the same there."""
        common = {(field.name, field.description) for field in SAMPLING} if self.samples else set()
        return [*self.query, *(field for field in self.fields if (field.name, field.description) not in common)]


def variants(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The alternatives of a schema, or itself."""
    for option in schema.get("anyOf") or schema.get("oneOf") or [schema]:
        if option is schema:
            yield schema
        else:
            yield from variants(option)


def fields_of(schema: dict[str, Any], prefix: str = "") -> Iterator[Field]:
    """The fields of an object's schema, each before those below it."""
    for name, inner in schema.get("properties", {}).items():
        whole = prefix + name
        required = name in schema.get("required", ())
        yield Field(whole, inner, inner.get("description", ""), required)
        seen = set()
        for option in variants(inner):
            items = [below for below in variants(option["items"])] if isinstance(option.get("items"), dict) else []
            for place, part in ((whole, option), *((f"{whole}[]", item) for item in items)):
                for field in fields_of(part, f"{place}."):
                    if field.name not in seen:
                        seen.add(field.name)
                        yield field


def _types(schema: dict[str, Any]) -> Iterator[str]:
    for option in variants(schema):
        if "enum" in option or "const" in option:
            yield from (f"`{value}`" for value in option.get("enum", [option.get("const")]) if value is not None)
            continue
        named = option.get("type", [])
        for name in [named] if isinstance(named, str) else named:
            if name == "array":
                items = " or ".join(dict.fromkeys(_types(option.get("items", {}))))
                yield f"list of {items}" if items and " " not in items else "list"
            elif name != "null":
                yield name


SAMPLING = tuple(fields_of(schema(SamplingFields)))

#: What is of no account where a prompt is only counted.
_OF_ANSWERS = {
    *(field.name for model in (SamplingFields, ConstraintFields) for field in fields_of(schema(model))),
    *("logprobs", "max_output_tokens", "prompt_logprobs", "response_format", "stream_options", "top_logprobs"),
}


def _fields(path: str, schema: dict[str, Any]) -> tuple[Field, ...]:
    """The fields of an endpoint's body."""
    found = tuple(fields_of(schema))
    if not path.endswith("/input_tokens"):
        return found
    idle = "Accepted; nothing is generated here."
    return tuple(replace(f, description=idle) if f.name.split(".")[0] in _OF_ANSWERS else f for f in found)


def endpoints() -> list[Endpoint]:
    """All of them, those with the same fields and meaning together, in the order of the app."""
    found: dict[Any, Endpoint] = {}
    for path, methods in create_app(ServerSettings()).openapi()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            fields = _fields(path, content["application/json"]["schema"]) if "application/json" in content else ()
            query = tuple(
                Field(f"?{entry['name']}", entry["schema"], entry.get("description", ""), entry.get("required", False))
                for entry in operation.get("parameters", ())
                if entry["in"] == "query"
            )
            about = operation.get("description", "").split("\n\n")[0].replace("\n", " ")
            key = (method, about, tuple((f.name, f.description) for f in (*fields, *query)))
            paths = (*(found[key].paths if key in found else ()), path)
            # The reference's path goes first.
            found[key] = Endpoint(method.upper(), tuple(sorted(paths, key=_rank)), about, fields, query)
    return list(found.values())


def _rank(path: str) -> tuple[bool, int, str]:
    return (not path.startswith(("/v1/", "/api/")), len(path), path)


def unknown(endpoint: Endpoint) -> tuple[str, ...]:
    """Fields of the reference that change nothing."""
    return UNKNOWN.get(endpoint.paths[0], ()) if endpoint.method == "POST" else ()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(fields: list[Field] | tuple[Field, ...]) -> Iterator[str]:
    yield "| field | | type | |\n|---|---|---|---|"
    for field in fields:
        needed = ", required" if field.required and "." not in field.name else ""
        yield f"| `{field.name}` | {field.status}{needed} | {_cell(field.type)} | {_cell(field.description)} |"


def document() -> str:
    """The whole page."""
    parts = [HEAD, "| endpoint | " + " | ".join(STATUSES) + " |\n|---|" + "---:|" * len(STATUSES)]
    every = endpoints()
    for endpoint in every:
        own = [field.status for field in (*endpoint.query, *endpoint.fields)] + ["ignored"] * len(unknown(endpoint))
        counts = " | ".join(str(own.count(status) or "") for status in STATUSES)
        parts.append(f"| {endpoint.method} {', '.join(f'`{path}`' for path in endpoint.paths)} | {counts} |")
    for endpoint in every:
        if not (endpoint.query or endpoint.fields):
            continue
        parts += ["", f"## {endpoint.name}", ""]
        if len(endpoint.paths) > 1:
            parts.append(f"Also at {', '.join(f'`{path}`' for path in endpoint.paths[1:])}. ")
        parts += [endpoint.about, ""]
        if endpoint.samples:
            parts += ["Beside these it has all [fields of sampling](#fields-of-sampling).", ""]
        parts += _table(endpoint.own)
        parts += [f"| `{name}` | ignored | | A field of the reference. |" for name in unknown(endpoint)]
    parts += ["", "## Fields of sampling", "", "Of all endpoints that refer to them.", "", *_table(SAMPLING), ""]
    return "\n".join(parts)


def main() -> int:
    """Writes the page; with `--check` says whether it is as it should be."""
    text = document()
    if sys.argv[1:] == ["--check"]:
        return 0 if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
