"""Comments that keep silent streams alive, over HTTP."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.support.server import Server, running


def hold_the_slot(server: Server) -> None:
    """Occupies the only slot until the client gives up."""
    body = {"prompt": "Once", "n_predict": 10_000_000, "ignore_eos": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/completion", json=body, timeout=2.8)


def test_a_stream_that_waits_gets_comments_and_then_its_events() -> None:
    for one in running("-c", "256", "-np", "1", "--context-shift", "--sse-ping-interval", "1"):
        holder = threading.Thread(target=hold_the_slot, args=(one,))
        holder.start()
        while not one.get("/slots").body[0]["is_processing"]:
            assert holder.is_alive()
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True}
        with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            lines = [line for line in response.iter_lines() if line]
        holder.join()
        assert lines[0] == ":"
        assert 1 <= lines.count(":") <= 3
        events = [line for line in lines if line != ":"]
        assert all(line.startswith("data: ") for line in events)
        assert events[-1] == "data: [DONE]"


def test_what_fails_at_once_has_its_own_status() -> None:
    for one in running("-c", "256", "--sse-ping-interval", "1"):
        body = {"prompt": "word " * 2000, "stream": True}
        assert one.post("/completion", body).status == 400
