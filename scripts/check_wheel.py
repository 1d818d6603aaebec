"""Checks the packages of a folder: the wheel by auditwheel, by what is in it, and in a fresh environment by its
programs; the sources by what is in them.

Usage: check_wheel.py FOLDER. Exits with status 1 at the first thing that is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

#: The oldest C library that the wheel must run with.
PLATFORM = "manylinux_2_17_x86_64"

IN_WHEEL = ("_rustllm.abi3.so", "_rustllm.pyi", "py.typed", "models/stories260K.gguf", "models/NOTICE")
IN_SOURCES = (
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "src/lib.rs",
    *(f"python/rustllm/{name}" for name in IN_WHEEL[1:]),
)

PORT = 18080
READY_SECONDS = 30


def main() -> None:
    folder = Path(sys.argv[1])
    (wheel,), (sources,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_sources(sources)
    with tempfile.TemporaryDirectory() as root:
        use(wheel, Path(root))
    print(f"{wheel.name} ({wheel.stat().st_size / 1e6:.1f} MB) and {sources.name} are good")


def check_wheel(wheel: Path) -> None:
    assert "cp310-abi3" in wheel.name, f"{wheel.name} is not for any Python from 3.10 on"
    names = zipfile.ZipFile(wheel).namelist()
    for name in IN_WHEEL:
        assert f"rustllm/{name}" in names, f"{wheel.name} has no rustllm/{name}"
    audit = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    report = " ".join(subprocess.run(audit, check=True, capture_output=True, text=True).stdout.split())
    assert f'consistent with the following platform tag: "{PLATFORM}"' in report, report


def check_sources(sources: Path) -> None:
    with tarfile.open(sources) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in IN_SOURCES:
        assert name in names, f"{sources.name} has no {name}"


def use(wheel: Path, root: Path) -> None:
    """Installs the wheel and does what a new user does first."""
    venv.create(root / "venv", with_pip=True)
    scripts = root / "venv/bin"
    subprocess.run([scripts / "python", "-m", "pip", "install", "-q", "--no-input", wheel.resolve()], check=True)
    code = "from rustllm import LLM, SamplingParams as P; print(LLM().generate('Once', P(max_tokens=4))[0].text)"
    # In another folder than the checkout's, so that the package is the installed one.
    subprocess.run([scripts / "python", "-c", code], check=True, cwd=root)
    server = subprocess.Popen([scripts / "rustllm-serve", "--port", str(PORT)], cwd=root)
    try:
        wait_until_ready()
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
        chat = f"http://127.0.0.1:{PORT}/v1/chat/completions"
        answer = json.load(urllib.request.urlopen(chat, json.dumps(body).encode()))
        assert answer["usage"]["completion_tokens"] == 8, answer
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0, "the server did not end well"


def wait_until_ready() -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health").close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
