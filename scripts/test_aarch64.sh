#!/usr/bin/env bash
# Runs the kernels' tests for AArch64. On another processor they are compiled for it and run under
# qemu's emulation of two: one with the dot products of Armv8.2, one without.
# Usage: scripts/test_aarch64.sh [ARGUMENTS OF THE TEST PROGRAM...]
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
variable=CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU
test=(cargo test --release --locked --lib)

if [ "$(uname -m)" = aarch64 ]; then
    grep -qw asimddp /proc/cpuinfo ||
        echo "note: this processor has no dot products; the kernels that use them are not tested" >&2
    exec "${test[@]}" kernels -- "$@"
fi

linker_variable=${variable}_LINKER
linker=${!linker_variable:-aarch64-linux-gnu-gcc}
sysroot=${AARCH64_SYSROOT:-/usr/aarch64-linux-gnu}
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)

missing=()
compgen -G "$(rustc --print target-libdir --target $target)/libstd-*.rlib" > /dev/null ||
    missing+=("Rust's library for $target (rustup target add $target; libstd-rust-dev:arm64 on Debian)")
command -v "$linker" > /dev/null ||
    missing+=("the linker $linker (gcc-aarch64-linux-gnu on Debian, or set $linker_variable)")
[ -e "$sysroot/lib/ld-linux-aarch64.so.1" ] ||
    missing+=("the C library in $sysroot (libc6-dev-arm64-cross on Debian, or set AARCH64_SYSROOT)")
[ -n "$emulator" ] || missing+=("qemu-aarch64 (qemu-user on Debian)")
if [ ${#missing[@]} -gt 0 ]; then
    echo "error: NOTHING WAS TESTED for AArch64; missing are:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi

export "$linker_variable=$linker"
for cpu in max cortex-a72; do
    echo "==> kernels on AArch64, $("$emulator" --version | head -n1), -cpu $cpu"
    # The rates of an emulator say nothing of the loops that are timed.
    env "${variable}_RUNNER=$emulator -L $sysroot -cpu $cpu" \
        "${test[@]}" --target $target kernels -- --skip wider_registers_do_not_do_less "$@"
done
