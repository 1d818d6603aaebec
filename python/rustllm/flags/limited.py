"""The flags of the table of limits."""

from __future__ import annotations

from rustllm.flags.kinds import Integer
from rustllm.flags.table import Flag, spellings
from rustllm.limits import TABLE

#: What the targets of these flags begin with.
PREFIX = "limit."

LIMITS = tuple(
    Flag(
        spellings(row.flag),
        PREFIX + row.name,
        Integer(row.low, row.high),
        row.help,
        row.variable,
        row.metavar,
        default=str(row.default),
    )
    for row in TABLE
)

#: The targets of those that mean something without a server: they bound what is in a body.
OF_REQUESTS = tuple(
    PREFIX + row.name
    for row in TABLE
    if row.measure is not None or row.name.startswith(("body_bytes", "json_", "answer_"))
)
