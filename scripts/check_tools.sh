#!/usr/bin/env bash
# Says in one line what is missing, before a build fails in the middle.
set -euo pipefail

python="${PYTHON:-python3}"
fail() {
    echo "error: $1" >&2
    exit 1
}

command -v "$python" > /dev/null || fail "$python is not there; install Python 3.10 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old; 3.10 or newer is needed (set PYTHON to it)"
"$python" -c 'import ensurepip, venv' 2> /dev/null ||
    fail "$python cannot make virtual environments; install its venv package (python3-venv on Debian)"
command -v cargo > /dev/null || fail "cargo is not there; install Rust from https://rustup.rs"

needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
found=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n1)" = "$needed" ] ||
    fail "Rust $found is too old; $needed or newer is needed (rustup update stable)"
