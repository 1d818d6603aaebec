#!/usr/bin/env bash
# Holds a server on the embedded model against recorded answers. Usage: parity.sh DIR BIN PORT
set -euo pipefail

directory="$1" bin="$2" port="$3"
if [ ! -f "$directory/check.py" ]; then
    echo "skipped: no recorded answers in $directory (set PARITY_DIR)"
    exit 0
fi
# The settings that the answers were recorded with.
"$bin/rustllm-serve" --port "$port" -c 512 -np 1 -fa off -ctk f32 -ctv f32 -lv 1 &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true' EXIT
for _ in $(seq 100); do
    kill -0 "$server" 2> /dev/null || { echo "error: the server has ended" >&2; exit 1; }
    "$bin/python" - "$port" << 'PYTHON' && break
import sys, urllib.request
try:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=1)
except OSError:
    sys.exit(1)
PYTHON
    sleep 0.1
done
"$bin/python" "$directory/check.py" --url "http://127.0.0.1:$port" "$directory"/*.jsonl
