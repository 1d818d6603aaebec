"""Models of the Hugging Face hub on this machine: `pull`, `list`, `rm`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from rustllm import hub
from rustllm.cli.inspection import print_json


def pull(options: argparse.Namespace) -> int:
    """Downloads a model and says where it lies."""
    path = hub.download(options.name, file=options.hf_file, token=options.hf_token)
    if options.json:
        size = sum(path.with_name(name).stat().st_size for name in hub.parts(path.name))
        print_json({"name": options.name, "path": str(path), "size": size})
    else:
        print(path)
    return 0


def show_list(options: argparse.Namespace) -> int:
    """Lists the models of the hub's cache."""
    rows = [_row(model) for model in hub.cached_models()]
    if options.json:
        print_json(rows)
        return 0
    if not rows:
        print("no models; `rustllm pull USER/REPO:QUANT` downloads one")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("name")
    table.add_column("size", justify="right")
    table.add_column("used")
    for row in rows:
        used = time.strftime("%Y-%m-%d", time.localtime(row["used"]))
        table.add_row(row["name"], f"{row['size'] / 2**20:,.0f} MiB", used)
    Console(markup=False, highlight=False).print(table)
    return 0


def remove(options: argparse.Namespace) -> int:
    """Removes models from the cache: all that are named, or none where one is unknown."""
    models = {model.name: model for model in hub.cached_models()}
    unknown = [name for name in options.names if name not in models]
    if unknown:
        there = ", ".join(models) or "none"
        raise hub.HubError(f"{', '.join(unknown)}: not in the cache; there are: {there}")
    freed = 0
    for name in options.names:
        freed += models[name].size
        hub.remove(models[name])
    if options.json:
        print_json({"removed": options.names, "freed": freed})
    else:
        print(f"removed {', '.join(options.names)}: {freed / 2**20:,.0f} MiB")
    return 0


def _row(model: hub.CachedModel) -> dict[str, Any]:
    used = model.path.stat().st_atime
    return {"name": model.name, "path": str(model.path), "size": model.size, "used": used}
