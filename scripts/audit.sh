#!/usr/bin/env bash
# Looks for known vulnerabilities in what the package is made of: the crates of Cargo.lock and the Python packages that
# it needs to run. Usage: scripts/audit.sh PIP_AUDIT REQUIREMENTS
# Exit status: 0 both were looked up, 1 something was found, or one of them could not be looked up, which is told.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pip_audit=$1
requirements=$2
status=0

# A command with what it is about. These tools end with the same status where their database cannot be had.
look_up() {
    local what=$1
    shift
    echo "==> $what: $(basename "$1") ${2:-}"
    if ! "$@"; then
        echo "error: $what: a vulnerability was found, or the database could not be had; the lines above say which" >&2
        status=1
    fi
}

if cargo audit --version > /dev/null 2>&1; then
    look_up "crates of Cargo.lock" cargo audit
elif cargo deny --version > /dev/null 2>&1; then
    look_up "crates of Cargo.lock" cargo deny check advisories
else
    echo "error: the crates of Cargo.lock were not looked up: there is no cargo-audit" >&2
    echo "(cargo install --locked cargo-audit) and no cargo-deny (cargo install --locked cargo-deny)" >&2
    status=1
fi

if "$pip_audit" --version > /dev/null 2>&1; then
    look_up "Python packages" "$pip_audit" --strict --progress-spinner off --requirement "$requirements"
else
    echo "error: the Python packages were not looked up: pip-audit could not be installed" >&2
    status=1
fi
exit "$status"
