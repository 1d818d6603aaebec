#!/usr/bin/env bash
# The browser that the pages are tested with: installs Debian's chromium where it may, otherwise says how.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" > /dev/null; then
        echo "found $(command -v "$name")"
        exit 0
    fi
done
if [ -n "${RUSTLLM_BROWSER:-}" ] && [ -x "$RUSTLLM_BROWSER" ]; then
    echo "found $RUSTLLM_BROWSER"
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "error: there is no Chromium; install it (on Debian: sudo apt-get install chromium), or set" >&2
    echo "RUSTLLM_BROWSER to the program of another Chromium or Chrome" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium > /dev/null
echo "installed $(command -v chromium)"
