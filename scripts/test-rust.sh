#!/usr/bin/env bash
# The Rust tests, by cargo-nextest where it is installed. Arguments go to cargo.
set -euo pipefail

if cargo nextest --version > /dev/null 2>&1; then
    cargo nextest run --no-tests=pass "$@"
    # nextest does not run the examples in doc comments.
    cargo test --doc --quiet "$@"
else
    cargo test "$@"
fi
