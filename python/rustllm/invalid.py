"""Refusals of a request in Python, of the same class and in the same form as the engine's own."""

from __future__ import annotations

from rustllm._rustllm import InvalidRequestError


def invalid(param: str, message: str) -> InvalidRequestError:
    """What is raised for the field `param`; `message` says what is there and what is allowed."""
    error = InvalidRequestError(f"{param}: {message}")
    error.param = param
    return error
