"""How a router ends: in order, or killed; and its keys."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from tests.support import router as support
from tests.support.router import eventually
from tests.support.server import Server, assert_error

ASK = {"prompt": "Once upon a time", "n_predict": 4, "seed": 1}


def test_keys_and_an_end_in_order(tmp_path: Path) -> None:
    directory = support.models_directory(tmp_path, "a")
    flags = ("--models-dir", str(directory), "--api-key", "secret", "--api-prefix", "/llm", "-c", "256")
    one = Server(*flags, env=support.environment(tmp_path))
    eventually(lambda: one.process.poll() is None and _reaches(one, "/llm/health"), "it does not start")
    key = {"Authorization": "Bearer secret"}
    assert one.get("/llm/v1/models").status == 200
    for path in ("/llm/models", "/llm/models/load", "/llm/completion"):
        assert_error(one.post(path, {"model": "a"}), 401)
    assert one.client.delete("/llm/models?model=a").status_code == 401
    with one.client.stream("GET", "/llm/models/sse", headers=key):
        body = {**ASK, "model": "a", "n_predict": 60, "ignore_eos": True, "stream": True}
        with one.client.stream("POST", "/llm/completion", json=body, headers=key) as answer:
            lines = answer.iter_lines()
            next(lines)
            started = support.children(one.process.pid)
            assert len(started) == 1
            arguments = Path(f"/proc/{started[0]}/cmdline").read_bytes()
            assert b"secret" not in arguments
            one.process.send_signal(signal.SIGTERM)
            assert '"stop":true' in [line for line in lines if line][-1], "the answer was cut off"
    assert one.process.wait(timeout=20) == 0
    assert not support.is_alive(started[0])


def test_models_end_with_a_router_that_is_killed(tmp_path: Path) -> None:
    directory = support.models_directory(tmp_path, "a")
    one = Server("--models-dir", str(directory), "-c", "256", env=support.environment(tmp_path)).wait()
    assert one.post("/completion", {**ASK, "model": "a"}).status == 200
    child = support.process_of(one, "a")
    one.process.kill()
    one.process.wait()
    eventually(lambda: not support.is_alive(child), "the model's process lives on", seconds=5)
    one.client.close()
    one.log.close()


def _reaches(server: Server, path: str) -> bool:
    try:
        return server.client.get(path).status_code == 200
    except httpx.TransportError:
        return False
