"""`--sleep-idle-seconds`: the model goes and comes back."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.model_file import STORY
from tests.support.server import Server, assert_error, running

REQUEST = {"prompt": "Once upon a time", "n_predict": 24, "seed": 5}


def wait_for_sleep(server: Server, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not server.get("/props").body["is_sleeping"]:
        assert time.monotonic() < deadline, "it does not fall asleep"
        time.sleep(0.05)


def test_a_sleeping_model_comes_back_with_the_same_answers() -> None:
    for one in running("-c", "512", "--sleep-idle-seconds", "1", "--metrics"):
        first = one.post("/completion", REQUEST).body
        wait_for_sleep(one)
        for path in ("/health", "/v1/health", "/v1/models", "/models", "/props", "/api/version"):
            assert one.get(path).status == 200
        assert len(one.get("/api/tags").body["models"]) == 1
        assert one.get("/api/ps").body == {"models": []}, "none runs"
        assert "llamacpp:tokens_predicted_total 24.0" in one.client.get("/metrics").text
        assert one.get("/props").body["is_sleeping"] is True, "none of these wakes it"
        second = one.post("/completion", REQUEST).body
        assert second["content"] == first["content"]
        assert second["timings"]["cache_n"] == 0, "the cache went with the model"
        assert one.get("/props").body["is_sleeping"] is False
        assert "llamacpp:tokens_predicted_total 48.0" in one.client.get("/metrics").text
        wait_for_sleep(one)
        assert one.post("/tokenize", {"content": "x"}).status == 200


def test_many_requests_at_once_wake_it_once() -> None:
    for one in running("-c", "512", "--sleep-idle-seconds", "1"):
        wait_for_sleep(one)
        answers: list[Any] = []

        def ask() -> None:
            answers.append(httpx.post(f"{one.url}/completion", json=REQUEST, timeout=60).json())  # noqa: B023

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({answer["content"] for answer in answers}) == 1
        assert one.output().count("the model is loaded again") == 1


def test_a_running_answer_keeps_it_awake() -> None:
    for one in running("-c", "64", "-np", "1", "--context-shift", "--sleep-idle-seconds", "1"):
        body = {**REQUEST, "n_predict": -1, "ignore_eos": True, "stream": True}
        with httpx.Client(base_url=one.url) as client, client.stream("POST", "/completion", json=body) as response:
            lines = response.iter_lines()
            ends = time.monotonic() + 2.5
            while time.monotonic() < ends:
                next(lines)
            assert one.get("/props").body["is_sleeping"] is False
        wait_for_sleep(one)


def test_a_model_that_is_gone_is_503_until_it_is_back(tmp_path: Path) -> None:
    model = tmp_path / "story.gguf"
    shutil.copy(STORY, model)
    for one in running("-m", str(model), "-c", "512", "--sleep-idle-seconds", "1"):
        wait_for_sleep(one)
        away = model.rename(tmp_path / "away.gguf")
        for _ in range(2):
            error = assert_error(one.post("/completion", REQUEST), 503)
            assert str(tmp_path) not in error["message"]
        assert one.get("/health").status == 200
        away.rename(model)
        assert one.post("/completion", REQUEST).status == 200


def test_a_sleeping_server_ends_in_order() -> None:
    one = Server("-c", "256", "--sleep-idle-seconds", "1").wait()
    wait_for_sleep(one)
    assert one.stop() == 0
