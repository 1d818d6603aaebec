"""Several models in one server, by name."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from rustllm.server.router_mode.schemas import RoutedModels
from tests.support import router as support
from tests.support.hub import Hub, running_hub
from tests.support.model_file import STORY
from tests.support.router import endless, eventually, listening, status, unload, wait_for
from tests.support.server import Answer, Server, assert_error

REPO = "someone/stories"
ASK = {"prompt": "Once upon a time", "n_predict": 4, "seed": 1}
SHORT = {"options": {"num_predict": 2}}
MESSAGES = [{"role": "user", "content": "Once upon a time"}]

PRESETS = """
version = 1
[*]
c = 512
context-shift = true

[a]
alias = first, ein-anderer
tags = small

[short]
model = {story}
LLAMA_ARG_N_PREDICT = 3   ; so many tokens
stop-timeout = 1
no-slots = true

[sleepy]
model = {story}
sleep-idle-seconds = 1
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    files = {"stories-Q8_0.gguf": STORY.read_bytes(), "README.md": b"stories"}
    with running_hub(REPO, files) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("router")
    directory = support.models_directory(root, "a", "b", "c")
    (directory / "broken.gguf").write_bytes(STORY.read_bytes()[:3000])
    (directory / "folder").mkdir()
    (directory / "folder/weights.gguf").symlink_to(STORY)
    presets = root / "models.ini"
    presets.write_text(PRESETS.format(story=STORY))
    flags = ("--models-dir", str(directory), "--models-preset", str(presets), "--models-max", "2", "-np", "2")
    one = Server(*flags, env=support.environment(root, hub.url))
    try:
        yield one.wait()
    finally:
        started = support.children(one.process.pid)
        assert one.stop() == 0
        assert not [pid for pid in started if support.is_alive(pid)], "a process was left behind"


def test_the_list(server: Server) -> None:
    answer = server.get("/v1/models").body
    RoutedModels.model_validate(answer, strict=True)
    cards = {card["id"]: card for card in answer["data"]}
    assert set(cards) == {"a", "b", "broken", "c", "folder", "short", "sleepy"}
    assert cards["a"]["aliases"] == ["ein-anderer", "first"]
    assert (cards["a"]["tags"], cards["b"]["tags"]) == (["small"], [])
    assert [cards[name]["source"] for name in ("a", "b", "short")] == ["preset", "models_dir", "preset"]
    assert "ctx-size=512" in cards["a"]["status"]["preset"]
    assert cards["folder"]["path"].endswith("folder/weights.gguf")
    assert {card["status"]["value"] for card in answer["data"]} == {"unloaded"}
    assert server.get("/health").body == {"status": "ok"}
    assert server.get("/props").body["role"] == "router"
    assert server.get("/props").body["max_instances"] == 2
    tags = {entry["name"]: entry for entry in server.get("/api/tags").body["models"]}
    assert tags["b"]["details"]["family"] == "llama"
    assert tags["broken"]["details"]["family"] == ""
    assert server.get("/api/ps").body == {"models": []}


def test_every_dialect_is_routed_by_its_model(server: Server) -> None:
    for name in ("a", "b"):
        chat = {"model": name, "messages": MESSAGES, "max_tokens": 2}
        assert server.post("/v1/chat/completions", chat).body["model"] == name
        assert server.post("/v1/messages", chat).body["content"][0]["type"] == "text"
        ollama = server.post("/api/chat", {**chat, "model": f"{name}:latest", "stream": False, **SHORT})
        assert ollama.body["done"] is True
        assert server.post("/completion", {**ASK, "model": name}).body["model"] == name
        assert server.get("/props", params={"model": name}).body["model_alias"] == name
        assert server.get("/slots", params={"model": name}).body[0]["n_ctx"] == 256
        erase = {"model": name, "action": "erase"}
        assert_error(server.post("/slots/0", content=b"", params=erase), 501)
    assert [entry["name"] for entry in server.get("/api/ps").body["models"]] == ["a", "b"]
    assert server.post("/tokenize", {"model": "first", "content": "x"}).status == 200, "an alias"
    assert server.post("/tokenize?model=b", {"content": "x"}).status == 200, "the query names it"
    assert server.post("/api/show", {"name": "a"}).body["details"]["family"] == "llama"
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    stream = client.chat.completions.create(model="b", messages=MESSAGES, max_tokens=3, stream=True)  # type: ignore[call-overload]
    assert {chunk.model for chunk in stream} == {"b"}


def test_presets_reach_the_process(server: Server) -> None:
    unload(server, "a", "b")
    answer = server.post("/completion", {"model": "short", "prompt": "Once", "ignore_eos": True}).body
    assert answer["timings"]["predicted_n"] == 3
    assert_error(server.get("/slots", params={"model": "short"}), 501)


def test_status_and_headers_pass(server: Server) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "format": "iri"}}}
    body = {"model": "a", "messages": MESSAGES, "max_tokens": 1, "response_format": schema}
    answer = server.post("/v1/chat/completions", body, headers={"X-Request-Id": "mine"})
    assert answer.status == 200
    assert answer.headers["x-rustllm-ignored-schema-keywords"] == "/format"
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert len(answer.headers.get_list("date")) == 1
    error = assert_error(server.post("/completion", {**ASK, "model": "a", "seed": "x"}), 400, "seed")
    assert "'x'" in error["message"]
    error = server.post("/v1/messages", {"model": "a", "messages": [], "max_tokens": 2})
    assert (error.status, error.body["type"]) == (400, "error")
    origin = {"Origin": "http://localhost:5"}
    answer = server.post("/completion", {**ASK, "model": "a"}, headers=origin)
    assert answer.headers.get_list("access-control-allow-origin") == ["http://localhost:5"]


def test_a_stream_comes_as_it_is_made_and_ends_with_its_client(server: Server) -> None:
    def busy() -> bool:
        return any(slot["is_processing"] for slot in server.get("/slots", params={"model": "a"}).body)

    with endless(server, "a") as lines:
        assert sum(line.startswith("data: ") for line, _ in zip(lines, range(200), strict=False)) > 90
        assert busy()
    eventually(lambda: not busy(), "the request goes on without its client")


def test_a_client_that_leaves_before_its_answer_aborts_it(server: Server) -> None:
    def busy() -> bool:
        return any(slot["is_processing"] for slot in server.get("/slots", params={"model": "a"}).body)

    body = {**ASK, "model": "a", "n_predict": -1, "ignore_eos": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/completion", json=body, timeout=httpx.Timeout(5, read=0.3))
    eventually(lambda: not busy(), "the request goes on without its client")


def test_the_least_recently_used_makes_room_but_never_a_busy_one(server: Server) -> None:
    unload(server, "a", "b", "c", "short")
    with endless(server, "a") as lines:
        server.post("/completion", {**ASK, "model": "b"})
        server.post("/completion", {**ASK, "model": "c"})
        found = {name: status(server, name)["value"] for name in ("a", "b", "c")}
        assert found == {"a": "loaded", "b": "unloaded", "c": "loaded"}, "a was used before b, but it is running"
        assert next(line for line in lines if line)
    server.post("/completion", {**ASK, "model": "a"})
    server.post("/completion", {**ASK, "model": "b"})
    found = {name: status(server, name)["value"] for name in ("a", "b", "c")}
    assert found == {"a": "loaded", "b": "loaded", "c": "unloaded"}


def test_a_model_waits_for_the_answers_of_the_one_it_replaces(server: Server) -> None:
    unload(server, "a", "b", "c")
    answers: list[Any] = []

    def ask() -> None:
        answers.append(httpx.post(f"{server.url}/completion", json={**ASK, "model": "c"}, timeout=60).json())

    waiting = threading.Thread(target=ask)
    with endless(server, "a") as first, endless(server, "b") as second:
        waiting.start()
        wait_for(server, "c", "loading")
        for lines in (first, second):
            assert sum(bool(line) for line, _ in zip(lines, range(400), strict=False)) > 180
        assert not answers
    waiting.join(30)
    assert answers[0]["model"] == "c"


def test_a_model_that_sleeps_is_listed_so_and_wakes(server: Server) -> None:
    with listening(server) as events:
        first = server.post("/completion", {**ASK, "model": "sleepy"}).body
        wait_for(server, "sleepy", "sleeping")
        assert server.post("/completion", {**ASK, "model": "sleepy"}).body["content"] == first["content"]
        wait_for(server, "sleepy", "loaded")

        def states() -> list[str]:
            return [event["data"]["status"] for event in events if event["model"] == "sleepy"]

        eventually(lambda: states()[-2:] == ["sleeping", "loaded"], "it is not told that it wakes")
        assert list(dict.fromkeys(states())) == ["loading", "loaded", "sleeping"]


def test_many_first_requests_load_a_model_once(server: Server) -> None:
    unload(server, "a", "b", "c")
    before = server.output().count("a model is loaded model=a")
    answers: list[Any] = []

    def ask() -> None:
        answers.append(httpx.post(f"{server.url}/completion", json={**ASK, "model": "a"}, timeout=60).json())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["content"] for answer in answers}) == 1
    assert server.output().count("a model is loaded model=a") == before + 1


def test_load_and_unload_with_their_events(server: Server) -> None:
    unload(server, "a", "b", "c", "sleepy")  # this one tells when it falls asleep
    with listening(server) as events:
        assert server.post("/models/load", {"model": "b"}).body == {"success": True}
        wait_for(server, "b", "loaded")
        error = assert_error(server.post("/models/load", {"model": "b"}), 400, "model")
        assert error["message"] == "model 'b' is already running"
        assert server.post("/models/unload", {"model": "b"}).body == {"success": True}
        wait_for(server, "b", "unloaded")
        eventually(lambda: any(event["data"]["status"] == "unloaded" for event in events), "no event")
    assert {event["model"] for event in events} == {"b"}
    assert [event["event"] for event in events] == ["model_status"] + ["status_change"] * (len(events) - 1)
    states = list(dict.fromkeys(event["data"]["status"] for event in events))
    assert states == ["loading", "loaded", "unloaded"]
    loaded = next(event["data"] for event in events if event["data"]["status"] == "loaded")
    assert loaded["info"]["meta"]["n_params"] > 200_000
    assert events[-1]["data"] == {"status": "unloaded", "exit_code": 0}
    assert "failed" not in status(server, "b")


def test_autoload_can_be_declined(server: Server) -> None:
    unload(server, "a", "b")
    error = assert_error(server.post("/completion?autoload=false", {**ASK, "model": "b"}), 400, "model")
    assert error["message"] == "model 'b' is not loaded"
    error = assert_error(server.post("/completion?autoload=maybe", {**ASK, "model": "b"}), 400, "autoload")
    assert "'maybe'" in error["message"]
    assert status(server, "b")["value"] == "unloaded"


def test_a_model_that_cannot_be_loaded_says_why(server: Server) -> None:
    error = assert_error(server.post("/completion", {**ASK, "model": "broken"}), 500)
    assert error["message"].startswith("model 'broken' failed to load: ")
    assert "broken.gguf" in error["message"]
    found = status(server, "broken")
    assert (found["value"], found["failed"], found["exit_code"]) == ("unloaded", True, 1)
    assert found["reason"] in error["message"]
    assert server.post("/completion", {**ASK, "model": "a"}).status == 200


def test_a_killed_process_comes_back_with_the_next_request(server: Server) -> None:
    server.post("/completion", {**ASK, "model": "a"})
    with endless(server, "a") as lines:
        support.kill(support.process_of(server, "a"))
        last = [line for line in lines if line][-1]
    assert "has ended" in json.loads(last.removeprefix("data: "))["error"]["message"]
    wait_for(server, "a", "unloaded")
    found = status(server, "a")
    assert (found["failed"], found["exit_code"]) == (True, -signal.SIGKILL)
    assert server.post("/completion", {**ASK, "model": "a"}).status == 200
    child = support.process_of(server, "a")
    support.kill(child)
    while support.is_alive(child):
        pass
    assert server.post("/completion", {**ASK, "model": "a"}).status == 200, "whether it is noticed yet or not"
    assert "failed" not in status(server, "a")


@pytest.mark.parametrize(
    ("path", "body", "code", "says"),
    [
        ("/completion", {"prompt": "x"}, 400, "names no model; there are: a, b, broken, c, folder, short, sleepy"),
        ("/completion", {"model": "nope"}, 400, "'nope' is not found; there are: a, b, broken"),
        ("/v1/chat/completions", {"model": 5}, 400, "got 5"),
        ("/v1/chat/completions", {"model": ""}, 400, "names no model"),
        ("/models/load", {"model": "nope"}, 404, "'nope' is not found; there are: a, b, broken"),
        ("/models/load", {}, 400, "model"),
        ("/models/load", {"model": ["a"]}, 400, "model"),
        ("/models/unload", {"model": "nope"}, 400, "'nope' is not found"),
        ("/models/unload", {"model": "folder"}, 400, "'folder' is not running"),
        ("/models", {"model": "nope"}, 400, "'nope' is not allowed; allowed: user/repo"),
        ("/models", {"model": "no/such"}, 400, "'no/such' cannot be downloaded"),
        ("/models", {"model": f"{REPO}:Q2_K"}, 400, "no GGUF file is of type 'Q2_K'; there are: stories-Q8_0.gguf"),
    ],
)
def test_bad_requests(server: Server, path: str, body: dict[str, Any], code: int, says: str) -> None:
    assert says in assert_error(server.post(path, body), code)["message"]


def test_bad_requests_of_other_kinds(server: Server) -> None:
    assert_error(server.post("/completion", content=b"{"), 400)
    assert_error(server.post("/completion", content=b""), 400)
    assert_error(server.get("/slots"), 400, "model")
    assert_error(server.get("/slots", params={"model": "nope"}), 400, "model")
    assert_error(server.get("/nothing"), 404)
    assert_error(delete(server, {}), 400, "model")
    assert_error(delete(server, {"model": "nope"}), 404, "model")
    assert "not from the cache" in assert_error(delete(server, {"model": "b"}), 400, "model")["message"]
    answer = server.post("/api/chat", {"model": "nope", "messages": MESSAGES})
    assert (answer.status, set(answer.body)) == (404, {"error"})
    answer = server.post("/v1/messages", {"model": "nope", "messages": MESSAGES, "max_tokens": 1})
    assert (answer.status, answer.body["error"]["type"]) == (404, "not_found_error")


def delete(server: Server, params: dict[str, str]) -> Answer:
    response = server.client.delete("/models", params=params)
    return Answer(response.status_code, response.json(), response.headers)


def test_a_model_of_the_hub_is_fetched_served_and_removed(server: Server, hub: Hub) -> None:
    name = f"{REPO}:Q8_0"
    with listening(server) as events:

        def seen(kind: str) -> list[dict[str, Any]]:
            return [event for event in events if event["event"] == kind]

        assert server.post("/models", {"model": name}).body == {"success": True}
        eventually(lambda: seen("download_finished"), "it is not downloaded")
        progress = seen("download_progress")[-1]["data"][f"{REPO}/stories-Q8_0.gguf"]
        assert progress == {"done": STORY.stat().st_size, "total": STORY.stat().st_size}
        assert status(server, name)["value"] == "unloaded"
        assert_error(server.post("/models", {"model": name}), 400, "model")
        assert server.post("/completion", {**ASK, "model": name}).body["model"] == name
        card = next(card for card in server.get("/models").body["data"] if card["id"] == name)
        assert (card["source"], card["can_remove"]) == ("cache", True)
        assert delete(server, {"model": name}).body == {"success": True}
        eventually(lambda: seen("model_remove"), "it is not removed")
        assert seen("models_reload")
    assert status(server, name) == {}
    assert not Path(card["path"]).exists()
    assert_error(server.post("/completion", {**ASK, "model": name}), 400, "model")


def test_new_files_are_found_on_demand(server: Server) -> None:
    known = {card["id"]: card for card in server.get("/models").body["data"]}
    directory = Path(known["b"]["path"]).parent
    (directory / "new.gguf").symlink_to(STORY)
    assert status(server, "new") == {}
    server.get("/models", params={"reload": "1"})
    assert server.post("/completion", {**ASK, "model": "new"}).status == 200
    (directory / "new.gguf").unlink()
    server.get("/models", params={"reload": "1"})
    assert status(server, "new") == {}
    assert set(known) == {card["id"] for card in server.get("/models").body["data"]}


def test_anthropics_client_lists_the_models(server: Server) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key="none")
    page = client.models.list()
    assert [model.id for model in page] == ["a", "b", "broken", "c", "folder", "short", "sleepy"]
    assert page.has_more is False


def test_the_documents(server: Server) -> None:
    paths = server.get("/openapi.json").body["paths"]
    assert {"/models/load", "/models/sse", "/v1/chat/completions", "/api/chat", "/api/version"} <= set(paths)
    assert paths["/completion"]["post"]["requestBody"]
    assert server.get("/api/version").status == 200
