"""Starts a server and runs a parity checker (`check.py` with its case files) against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.server import running

folder = Path(sys.argv[1])
cases = sorted(str(path) for path in folder.glob("*.jsonl"))
for server in running("-c", "512", "-np", "1", "-fa", "off", "-ctk", "f32", "-ctv", "f32"):
    command = [sys.executable, str(folder / "check.py"), "--url", server.url, *cases]
    status = subprocess.run(command, check=False).returncode
sys.exit(status)
