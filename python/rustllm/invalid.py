"""Refusals of a request in Python, of the same class and in the same form as the engine's own."""

from __future__ import annotations

from collections.abc import Iterator

from rustllm._rustllm import InvalidRequestError


def invalid(param: str, message: str) -> InvalidRequestError:
    """What is raised for the field `param`; `message` says what is there and what is allowed."""
    error = InvalidRequestError(f"{param}: {message}")
    error.param = param
    return error


def shown(value: object, most: int = 60) -> str:
    """The beginning of a value as Python writes it, for messages; the rest of the value is not looked at."""
    text = ""
    for part in _written(value, most):
        text += part
        if len(text) > most:
            return text[:most] + "…"
    return text


def _written(value: object, most: int) -> Iterator[str]:
    if isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _written(item, most)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield ", " if index else ""
            yield from _written(key, most)
            yield ": "
            yield from _written(item, most)
        yield "}"
    else:
        yield repr(value[: most + 1] if isinstance(value, str) else value)
