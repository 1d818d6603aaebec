"""Keys of a server of several models: what each may ask for holds over all models, and no client can speak for
another key."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import router as support
from tests.support.router import eventually
from tests.support.server import Answer, Server, assert_error

BODY = {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0}
TEXT = "Once upon a time there was a little dog who loved to play with a big red ball in the park. " * 3
KEYS = """key-of-alice name=alice
key-of-bob name=bob requests_per_minute=20
key-of-carol name=carol tokens_per_minute=300
key-of-dave name=dave weight=3
key-of-erin name=erin tokens_per_minute=3000
key-of-frank name=frank tokens_per_minute=1200
key-of-grace name=grace
"""
MODELS = ("a", "b")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-of-{key}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("keys")
    (root / "keys").write_text(KEYS)
    directory = support.models_directory(root, *MODELS)
    flags = ("--models-dir", str(directory), "--api-key-file", str(root / "keys"), "--cache-per-key", "--metrics", "-v")
    models = ("-c", "2048", "-np", "2", "--context-shift", "--embeddings", "--pooling", "mean")
    one = Server(*flags, *models, env=support.environment(root)).wait()
    try:
        for model in MODELS:
            assert ask(one, "alice", model).status == 200
        yield one
    finally:
        one.stop()


def ask(server: Server, key: str, model: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    body = {**BODY, "model": model, **fields}
    return server.post("/completion", body, headers={**bearer(key), **(headers or {})})


def metric(server: Server, model: str, name: str, key: str) -> float:
    text = server.client.get("/metrics", params={"model": model}, headers=bearer("alice")).text
    start = f'rustllm:{name}{{key="{key}"'
    return float(next(line for line in text.splitlines() if line.startswith(start)).split()[-1])


def tokens_left(answer: Answer | httpx.Response) -> int:
    """What the headers say, each of which is there once."""
    for name in ("limit", "remaining", "reset"):
        assert len(answer.headers.get_list(f"x-ratelimit-{name}-tokens")) == 1, answer.headers
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def reload(server: Server, model: str) -> None:
    """Gives a model another process."""
    assert server.post("/models/unload", {"model": model}, headers=bearer("alice")).status == 200
    support.wait_for(server, model, "unloaded")
    assert ask(server, "alice", model).status == 200


def test_requests_are_counted_over_all_models(server: Server) -> None:
    remaining = []
    for model in itertools.islice(itertools.cycle(MODELS), 20):
        answer = ask(server, "bob", model)
        assert answer.status == 200, answer.body
        assert answer.headers.get_list("x-ratelimit-limit-requests") == ["20"]
        remaining.append(int(answer.headers["x-ratelimit-remaining-requests"]))
    assert remaining[0] == 19
    assert remaining == sorted(remaining, reverse=True)
    for model in MODELS:
        answer = ask(server, "bob", model)
        assert_error(answer, 429)
        assert "key bob: its requests of this minute are used up" in answer.body["error"]["message"]
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 3
    assert ask(server, "alice", "a").status == 200, "another key"
    time.sleep(wait)
    assert ask(server, "bob", "b").status == 200


def test_tokens_are_counted_over_all_models(server: Server) -> None:
    """By whole answers and by streams; and a model's new process does not begin anew."""
    long = {"n_predict": 120, "ignore_eos": True}
    before = tokens_left(server.get("/slots", params={"model": "a"}, headers=bearer("carol")))
    assert before == 300
    began = time.monotonic()

    def come_back() -> float:
        return 5 * (time.monotonic() - began)

    answer = ask(server, "carol", "a", **long)
    assert answer.body["tokens_predicted"] == 120
    assert tokens_left(answer) < 300 - 120 + come_back()
    with server.client.stream(
        "POST", "/completion", json={**BODY, **long, "model": "b", "stream": True}, headers=bearer("carol")
    ) as stream:
        assert stream.status_code == 200, stream.read()
        # The whole limit is taken when it begins.
        assert tokens_left(stream) < 300 - 240 + come_back()
        stream.read()
    embedded = server.post("/v1/embeddings", {"input": [TEXT] * 4, "model": "a"}, headers=bearer("carol"))
    assert embedded.status == 200, embedded.body
    reload(server, "b")
    for model in MODELS:
        answer = ask(server, "carol", model)
        assert_error(answer, 429)
        message = answer.body["error"]["message"]
        assert "key carol: its tokens of this minute are used up" in message
        assert "allowed: 300 (tokens_per_minute in --api-key-file)" in message
        assert tokens_left(answer) == 0
    # Counting tokens generates none.
    assert server.post("/tokenize", {"content": "x", "model": "a"}, headers=bearer("carol")).status == 200


def test_who_waits_as_told_is_taken_by_any_model(server: Server) -> None:
    assert ask(server, "frank", "a", n_predict=1230, ignore_eos=True).status == 200
    answer = ask(server, "frank", "b")
    assert_error(answer, 429)
    wait = int(answer.headers["retry-after"])
    assert wait >= 1
    time.sleep(wait)
    assert ask(server, "frank", "b", n_predict=1).status == 200


def test_what_an_answer_did_not_need_comes_back(server: Server) -> None:
    """Of one that ends early, of those that are left in the middle and of one that is refused."""

    def left() -> int:
        return tokens_left(server.get("/slots", params={"model": "a"}, headers=bearer("erin")))

    def spent() -> float:
        kinds = ("key_prompt_tokens_total", "key_generated_tokens_total")
        return sum(metric(server, model, kind, "erin") for model in MODELS for kind in kinds)

    early = ask(server, "erin", "a", n_predict=2500, stop=["a", "e", "i", "o"])
    assert early.body["tokens_predicted"] < 20
    body = {**BODY, "n_predict": 100_000, "ignore_eos": True, "stream": True}
    for model in MODELS:
        with (
            httpx.Client(base_url=server.url, timeout=60) as client,
            client.stream("POST", "/completion", json={**body, "model": model}, headers=bearer("erin")) as stream,
        ):
            assert stream.status_code == 200, stream.read()
            lines = stream.iter_lines()
            next(lines)
            assert left() < 1500, "a minute's tokens are taken when it begins"
        eventually(left, "what was not generated is not given back", seconds=5)
    assert_error(ask(server, "erin", "b", n_predict=100_000, seed="x"), 400)
    assert 0 < spent() < 2500
    assert left() >= 3000 - spent() - 1


def test_no_client_can_speak_for_another_key(server: Server) -> None:
    before = {key: metric(server, "a", "key_requests_total", key) for key in ("alice", "bob", "dave")}
    for headers in (
        {"x-rustllm-key": "dave"},
        {"X-RustLLM-Key": "bob"},
        {"x-rustllm-key": "dave", "connection": "x-rustllm-key"},
        {"x-rustllm-key": ""},
    ):
        assert ask(server, "alice", "a", headers=headers).status == 200
    twice = [*bearer("alice").items(), ("x-rustllm-key", "bob"), ("x-rustllm-key", "dave")]
    assert server.client.post("/completion", json={**BODY, "model": "a"}, headers=twice).status_code == 200
    for key, number in before.items():
        assert metric(server, "a", "key_requests_total", key) == number + (5 if key == "alice" else 0), key
    body = {**BODY, "model": "a"}
    for wrong in ({}, {"authorization": "Bearer alice"}):
        assert_error(server.post("/completion", body, headers={**wrong, "x-rustllm-key": "alice"}), 401)


def test_a_model_s_process_answers_only_for_keys_that_the_router_names(server: Server) -> None:
    words = Path(f"/proc/{support.process_of(server, 'a')}/cmdline").read_bytes().decode().split("\0")
    socket = words[words.index("--host") + 1]
    assert Path(socket).parent.stat().st_mode & 0o077 == 0, "only this user may enter"
    with httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=socket)) as client:
        for headers in ({}, {"x-rustllm-key": "nobody"}, bearer("alice")):
            assert client.post("/completion", json=BODY, headers=headers).status_code == 401
        assert client.post("/completion", json=BODY, headers={"x-rustllm-key": "alice"}).status_code == 200


def test_keys_share_nothing_in_the_cache(server: Server) -> None:
    text = "The cat sat on the mat and looked at the moon. " * 4

    def cached(key: str) -> int:
        answer = ask(server, key, "a", prompt=text, n_predict=1)
        assert answer.status == 200, answer.body
        return int(answer.body["timings"]["cache_n"])

    # Of the prompts before, this shares the first token alone.
    assert max(cached("alice"), cached("dave")) < 3
    assert min(cached("alice"), cached("dave")) > 30


def test_the_keys_of_a_model_take_turns_by_their_weights(server: Server) -> None:
    """All wait behind two answers of another key; then, of four turns, alice gets one and dave three."""
    order: list[str] = []

    def wait(key: str) -> None:
        body = {**BODY, "model": "b", "n_predict": 20, "ignore_eos": True}
        answer = httpx.post(f"{server.url}/completion", json=body, headers=bearer(key), timeout=60)
        assert answer.status_code == 200, answer.text
        order.append(key)

    threads = [threading.Thread(target=wait, args=(key,)) for _ in range(40) for key in ("alice", "dave")]
    plug = {"server": server, "model": "b", "headers": bearer("grace")}
    with support.endless(**plug), support.endless(**plug):
        for thread in threads:
            thread.start()
        # One more than there are slots is inside.
        for key in ("alice", "dave"):
            eventually(lambda key=key: metric(server, "b", "key_waiting", key) >= 39, "they do not wait")
    for thread in threads:
        thread.join()
    assert len(order) == 80
    assert 25 <= order[:40].count("dave") <= 35, order


def test_no_key_is_told(server: Server) -> None:
    """The last test: after all of the above, neither the log at its most talkative nor anything of the models'
    processes has a key."""
    pids = support.children(server.process.pid)
    assert len(pids) == len(MODELS)
    shown = [server.output(), server.client.get("/models").text]
    for pid in pids:
        shown += [Path(f"/proc/{pid}/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
    files = [path for path in _directory(pids[0]).iterdir() if path.is_file()]
    assert files
    shown += [path.read_bytes().decode("latin-1") for path in files]
    for model in MODELS:
        for path in ("/metrics", "/props", "/slots"):
            shown.append(server.client.get(path, params={"model": model}, headers=bearer("alice")).text)
    for text in shown:
        assert text
        assert "key-of" not in text
    assert "x-rustllm-key" not in shown[0].lower()


def _directory(pid: int) -> Path:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return Path(dict(line.split("=", 1) for line in variables if line)["RUSTLLM_ROUTER_KEYS"])
