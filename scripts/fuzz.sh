#!/usr/bin/env bash
# Runs every fuzz target for some seconds. cargo-fuzz wants sanitizers, which a stable compiler
# gives with RUSTC_BOOTSTRAP.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
export RUSTC_BOOTSTRAP=1
for target in fuzz_targets/*.rs; do
  name=$(basename "$target" .rs)
  echo "== $name, ${1:-60} s"
  mkdir -p "target/corpus/$name"
  # What is found goes to the first folder; the seeds stay as they are.
  cargo fuzz run --fuzz-dir . "$name" "target/corpus/$name" "corpus/$name" -- -max_total_time="${1:-60}" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1
done
