"""Log lines with fields: key=value pairs or JSON objects, on standard error and in a file.

A line's fields come from `extra={"fields": {...}}`; those of a request carry its `request_id`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

#: The level of each verbosity; above them all is everything.
LEVELS = {0: logging.CRITICAL + 1, 1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}

#: Values made of these need no quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")


class TextFormatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z info request request_id=a1 status=200`"""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower()} {one_line(record.getMessage())}"
        for name, value in _fields(record).items():
            line += f" {name}={_quoted(value)}"
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def set_up(*, verbosity: int, file: Path | None, form: str) -> None:
    """Configures the loggers of the process. Raises OSError when the file cannot be opened."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    level = LEVELS.get(verbosity, logging.DEBUG)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    # Other libraries speak up only when something is wrong; our own level is the operator's choice.
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("rustllm").setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.WARNING))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """`text` without control characters, so that what a client or a file says cannot forge lines or move a cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
