"""Requests that the OpenAPI document does not allow, made by schemathesis: no error of the server, no status that the
document does not name, no other content type, and a 405 with the methods that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attack import KEY, LONG, Witness, idle, resident_bytes, witness
from tests.support.server import ROOT, Server, running
from tests.torture.conftest import Report

pytest.importorskip("schemathesis", reason="it is among the development dependencies")

#: Cases of each operation, beside those that cover its schema.
EXAMPLES = 100 if LONG else 5

#: Whether answers fit their schemas has tests of its own, which know what `response_fields` and events are.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "unsupported_method,allow_header_conformance,ignored_auth"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    slots = tmp_path_factory.mktemp("slots")
    flags = ("--embeddings", "--pooling", "mean", "--slot-save-path", str(slots), "--metrics", "--props")
    for one in running("-c", "1024", "-np", "2", *flags, "--api-key", KEY, "-lv", "1"):
        one.client.headers["Authorization"] = f"Bearer {KEY}"
        yield one


@pytest.fixture(scope="module")
def good(server: Server) -> Witness:
    return witness(server)


@pytest.mark.timeout(3000)
def test_what_the_document_does_not_allow(server: Server, good: Witness, tmp_path: Path, report: Report) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests/torture/schemathesis.toml")),
        *("run", f"{server.url}/openapi.json", "--mode", "negative", "--phases", "coverage,fuzzing"),
        *("--checks", CHECKS, "--max-examples", str(EXAMPLES), "--continue-on-failure", "--request-timeout", "60"),
        *("--header", f"Authorization: Bearer {KEY}", "--no-color", "--generation-database", "none"),
        *(() if LONG else ("--seed", "1")),
    ]
    # What is filled once, the document itself among it, is filled by the first run.
    for number in range(2 if LONG else 1):
        before = resident_bytes(server.process.pid)
        with good.watching(pause=0.05):
            ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
        assert idle(server)
        found = re.search(r"(\d+) generated", ended.stdout)
        assert found, ended.stdout[-2000:]
        assert int(found[1]) > 1000
        growth = resident_bytes(server.process.pid) - before if number else 0
        report.add("requests against the document", int(found[1]), growth=growth)
        assert growth < 8_000_000
