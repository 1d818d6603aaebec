#!/usr/bin/env bash
# Runs each fuzz target for some seconds. Usage: fuzz.sh SECONDS
set -euo pipefail

seconds="$1"
[ -d fuzz ] || { echo "error: there is no folder fuzz" >&2; exit 1; }
cargo +nightly fuzz --version > /dev/null 2>&1 || {
    echo "error: fuzzing needs nightly Rust and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz" >&2
    exit 1
}
for target in $(cargo +nightly fuzz list); do
    echo "== $target"
    # A finding is kept in fuzz/artifacts and ends the run.
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10
done
