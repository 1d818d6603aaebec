"""Hostile inputs as data: one `Row` an input, in the classes of `docs/reliability.md`."""

from __future__ import annotations

from tests.support.attack import Row
from tests.torture.rows import connections, constraints, costs, encoding, fields, permissions, products

ROWS: list[Row] = [
    *(*encoding.ROWS, *fields.ROWS, *costs.ROWS, *products.ROWS),
    *(*constraints.ROWS, *permissions.ROWS, *connections.ROWS),
]
