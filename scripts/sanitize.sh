#!/usr/bin/env bash
# The unsafe code under checkers: the kernels' tests with AddressSanitizer, with all instruction sets that the machine has;
# and what Miri can run of them, with its detector of data races under several schedules of the threads.
# `scripts/sanitize.sh asan` or `miri` runs one of the two.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
targets=${CARGO_TARGET_DIR:-target}

asan() {
  # A stable compiler gives sanitizers with RUSTC_BOOTSTRAP.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$targets/asan" \
    cargo test --release --lib --target "$host" -- kernels:: kv_cache:: gguf:: layers:: engine::
}

miri() {
  if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "error: Miri is missing: rustup toolchain install nightly --component miri,rust-src" >&2
    return 1
  fi
  # Miri knows no vector registers, and its memory is not the machine's: scalar kernels on little cases, a few schedules
  # where threads meet.
  export CARGO_TARGET_DIR="$targets/miri" RUSTLLM_SIMD=scalar PROPTEST_CASES=1 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
  local flags="-Zmiri-disable-isolation"
  MIRIFLAGS="$flags" cargo +nightly miri test --lib -- kv_cache::
  MIRIFLAGS="$flags -Zmiri-many-seeds=0..16" cargo +nightly miri test --lib -- kernels::pool engine::wake
}

for part in ${1:-asan miri}; do
  echo "== $part"
  "$part"
done
