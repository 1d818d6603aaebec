"""The endpoints beside chat: shapes, keys, origins, clients that leave."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.server import ROOT, Server, as_messages, assert_error, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "512", "-np", "2", "--alias", "story")


def test_health_models_props_slots(server: Server) -> None:
    for path in ("/health", "/v1/health"):
        assert server.get(path).body == {"status": "ok"}
    for path in ("/models", "/v1/models"):
        body = server.get(path).body
        assert body["data"][0]["id"] == body["models"][0]["name"] == "story"
        assert body["data"][0]["meta"]["n_vocab"] == 512
    props = server.get("/props").body
    assert props["total_slots"] == 2
    assert props["default_generation_settings"]["n_ctx"] == 256
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    assert [slot["is_processing"] for slot in server.get("/slots").body] == [False, False]
    assert "/v1/chat/completions" in server.get("/openapi.json").body["paths"]


def test_the_pages_of_the_api_need_no_other_server(server: Server) -> None:
    for page in ("/docs", "/redoc"):
        html = server.client.get(page).text
        fetched = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len(fetched) >= 2
        assert all(url.startswith("/") and server.client.get(url).status_code == 200 for url in fetched), fetched


def test_no_other_page_may_frame_ours(server: Server) -> None:
    for page in ("/", "/index.html", "/dashboard"):
        whole = server.client.get(page)
        assert whole.status_code == 200
        unchanged = server.client.get(page, headers={"if-none-match": whole.headers["etag"]})
        assert unchanged.status_code == 304
        for answer in (whole, unchanged):
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"].split("; ")


def test_aliases_tags_and_slots_that_share_the_context() -> None:
    for one in running("-c", "512", "-np", "2", "-kvu", "--alias", "story,tale", "--tags", "small,old"):
        body = one.get("/v1/models").body
        card = body["data"][0]
        assert (card["id"], card["aliases"], card["tags"]) == ("story", ["story", "tale"], ["small", "old"])
        props = one.get("/props").body
        assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (2, 512)
        answer = one.chat("Once", model="tale", max_tokens=2)
        assert (answer.status, answer.body["model"]) == (200, "tale")


def test_errors_of_the_framework_have_the_shape(server: Server) -> None:
    assert_error(server.get("/nowhere"), 404)
    # What only a router has.
    assert_error(server.post("/models/load", {"model": "story"}), 404)
    assert_error(server.post("/models/unload", {"model": "story"}), 404)
    assert_error(server.get("/models/sse"), 404)
    assert_error(server.get("/completion"), 405)


def test_tokenize_and_back(server: Server) -> None:
    tokens = server.post("/tokenize", {"content": "Once upon a time"}).body["tokens"]
    assert server.post("/detokenize", {"tokens": tokens}).body["content"].strip() == "Once upon a time"
    pieces = server.post("/tokenize", {"content": "Once 🎉", "with_pieces": True}).body["tokens"]
    assert [piece["piece"] for piece in pieces[-4:]] == [[0xF0], [0x9F], [0x8E], [0x89]]


def test_completion_fields(server: Server) -> None:
    body = server.post("/completion", {"prompt": "Once upon a time", "n_predict": 8, "return_tokens": True}).body
    assert body["stop"] is True
    assert body["stop_type"] == "limit"
    assert len(body["tokens"]) == body["tokens_predicted"] == body["timings"]["predicted_n"] == 8
    assert body["tokens_evaluated"] == 5
    assert body["prompt"].startswith("<s>")
    assert body["generation_settings"]["temperature"] == pytest.approx(0.8)


def test_a_completion_stream_equals_the_whole(server: Server) -> None:
    request = {"prompt": "Once upon a time", "n_predict": 24, "temperature": 0, "stop": ["Lily"]}
    whole = server.post("/completion", request).body
    events = server.stream("/completion", request)
    assert "".join(event["content"] for event in events) == whole["content"]
    assert events[-1]["stop"] is True
    assert events[-1]["stop_type"] == whole["stop_type"] == "word"
    assert events[-1]["stopping_word"] == "Lily"


def test_openai_completions(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    prompts = ["Once upon", "One day"]
    answer = client.completions.create(model="x", prompt=prompts, max_tokens=4, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    stream = client.completions.create(model="x", prompt="Once upon", max_tokens=4, temperature=0, stream=True)
    assert "".join(event.choices[0].text for event in stream) == answer.choices[0].text


def test_seeded_answers_do_not_depend_on_company(server: Server) -> None:
    request = {"prompt": "Once upon a time", "n_predict": 48, "seed": 7, "temperature": 1.2}
    alone = server.post("/completion", request).body["content"]
    stop = threading.Event()

    def noise() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                client.post("/completion", json={"prompt": "One day, Tim", "n_predict": 20, "cache_prompt": False})

    threads = [threading.Thread(target=noise) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert server.post("/completion", request).body["content"] == alone
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_client_that_leaves_frees_its_slot(server: Server) -> None:
    body = {"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True, "n": 1}
    with httpx.Client(base_url=server.url) as client, client.stream("POST", "/completion", json=body) as response:
        lines = response.iter_lines()
        next(lines)
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/completion", json={**body, "stream": False, "n_predict": 240}, timeout=0.001)
    deadline = time.monotonic() + 2
    while any(slot["is_processing"] for slot in server.get("/slots").body):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_queue_has_a_cap() -> None:
    for one in running("-c", "512", "-np", "1", "--max-queue", "0", "--context-shift"):
        body = {"prompt": "Once upon a time", "n_predict": 1_000_000, "ignore_eos": True, "stream": True}
        with httpx.Client(base_url=one.url) as client, client.stream("POST", "/completion", json=body) as response:
            # Kept, since a connection is closed together with the iterator over its lines.
            lines = response.iter_lines()
            next(lines)
            answer = one.post("/completion", {"prompt": "x", "n_predict": 1})
            assert_error(answer, 429)
            assert int(answer.headers["retry-after"]) > 0
        assert one.get("/health").status == 200


def test_api_keys() -> None:
    for one in running("--api-key", "secret,other"):
        body = {"messages": as_messages("hi"), "max_tokens": 1}
        assert_error(one.post("/v1/chat/completions", body), 401)
        for wrong in ("Bearer secre", "Bearer secretx", "Basic secret", "secret"):
            assert_error(one.post("/v1/chat/completions", body, headers={"authorization": wrong}), 401)
        for right in ({"authorization": "Bearer secret"}, {"authorization": "bearer other"}, {"x-api-key": "secret"}):
            assert one.post("/v1/chat/completions", body, headers=right).status == 200
        assert one.get("/health").status == 200
        assert_error(one.get("/props?api_key=secret"), 401)


def test_origins(server: Server) -> None:
    def allowed(one: Server, origin: str) -> str | None:
        return one.client.get("/health", headers={"origin": origin}).headers.get("access-control-allow-origin")

    assert allowed(server, "http://localhost:3000") == "http://localhost:3000"
    assert allowed(server, "https://example.org") is None
    for one in running("--cors-origins", "https://example.org"):
        assert allowed(one, "https://example.org") == "https://example.org"


def test_sigterm_ends_with_status_0() -> None:
    one = Server().wait()
    assert one.stop() == 0


def test_a_missing_model_ends_with_status_1() -> None:
    command = [sys.executable, "-m", "rustllm", "serve", "-m", str(ROOT / "no-such.gguf"), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "no-such.gguf" in line


def test_a_quiet_server_says_why_it_ends(tmp_path: Path) -> None:
    empty, log = tmp_path / "empty.gguf", tmp_path / "log"
    empty.touch()
    command = [sys.executable, "-m", "rustllm", "serve", "-m", str(empty), "--port", "0"]
    for more in (["--log-verbosity", "0"], ["--log-file", str(log)]):
        ended = subprocess.run([*command, *more], capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert f"cannot load the model: {empty}: magic: " in line
    assert log.read_text() == f"{line}\n"


@pytest.mark.parametrize(
    ("keep", "says"),
    [(0, "magic: "), (100, "tensor count: the count 48"), (20_000, "token_embd.weight: its data (offset 0,")],
)
def test_a_broken_model_ends_with_status_1(tmp_path: Path, keep: int, says: str) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes((ROOT / "python/rustllm/models/stories260K.gguf").read_bytes()[:keep])
    command = [sys.executable, "-m", "rustllm", "serve", "-m", str(broken), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "broken.gguf" in line
    assert says in line


def test_an_unknown_flag_suggests_the_nearest() -> None:
    command = [sys.executable, "-m", "rustllm", "serve", "--ctx-sise", "5"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "--ctx-size" in ended.stderr


def test_the_second_signal_is_not_needed_while_idle() -> None:
    one = Server().wait()
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(timeout=20) == 0
    one.log.close()
