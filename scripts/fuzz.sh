#!/usr/bin/env bash
# Runs every fuzz target for some seconds: those of the Rust core with cargo-fuzz, those of the Python package with
# atheris. cargo-fuzz wants sanitizers, which a stable compiler gives with RUSTC_BOOTSTRAP. TARGETS names some of them.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-60}
python=${PYTHON:-python3}
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
"$python" -c "import atheris" 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check "atheris>=3"
export RUSTC_BOOTSTRAP=1

# What is found goes to the first folder of inputs; the seeds stay as they are.
folders() {
  mkdir -p "target/corpus/$1" "corpus/$1" target/artifacts
  echo "target/corpus/$1" "corpus/$1"
}

wanted() {
  [ -z "${TARGETS:-}" ] || [[ " $TARGETS " == *" $1 "* ]]
}

limits=(-max_total_time="$seconds" -rss_limit_mb=4096 -print_final_stats=1)
for target in fuzz_targets/*.rs; do
  name=$(basename "$target" .rs)
  wanted "$name" || continue
  echo "== $name, $seconds s"
  read -ra inputs <<<"$(folders "$name")"
  cargo fuzz run --fuzz-dir . "$name" "${inputs[@]}" -- "${limits[@]}" -timeout=10
done
for target in python_targets/*.py; do
  name=$(basename "$target" .py)
  wanted "$name" || continue
  echo "== $name, $seconds s"
  read -ra inputs <<<"$(folders "$name")"
  PYTHONPATH=.. "$python" "$target" "${inputs[@]}" "${limits[@]}" -timeout=60 -artifact_prefix=target/artifacts/
done
