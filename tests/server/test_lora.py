"""`/lora-adapters`, adapters of single requests, and that no cached text serves another configuration."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rustllm.server.native.completion.schemas import Completion
from rustllm.server.native.lora.schemas import Adapter
from tests.data.lora.record import ADAPTERS, PROMPTS, REQUEST, SCALES, write
from tests.support.adapter_file import write_adapter
from tests.support.model_file import fim_model
from tests.support.server import Server, assert_error, running

RECORDED = Path(__file__).resolve().parents[1] / "data/lora/recorded.json"

PROMPT = {"prompt": "Once upon a time there was a little dog who lived near the forest", "n_predict": 24}
GREEDY = {**PROMPT, "temperature": 0}
FIRST, SECOND = [{"id": 0, "scale": 1.0}], [{"id": 1, "scale": 1.0}]
OFF = [{"id": 0, "scale": 0.0}]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def server(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = fim_model(tmp_path_factory.mktemp("fim"))
    yield from running(
        *("-m", str(model), "-c", "4096", "-np", "4", "--embedding", "--lora-init-without-apply"),
        *("--lora", str(files[0]), "--lora-scaled", f"{files[1]}:0.5"),
    )


@pytest.fixture(autouse=True)
def all_off(server: Server) -> Iterator[None]:
    """Each test begins and ends without adapters."""
    yield
    assert server.post("/lora-adapters", []).body == {"success": True}


def text(server: Server, **fields: Any) -> str:
    return str(server.post("/completion", {**GREEDY, **fields}).body["content"])


def scales(server: Server) -> list[float]:
    return [adapter["scale"] for adapter in server.get("/lora-adapters").body]


# The list


def test_the_list_has_llama_servers_shape(server: Server, files: list[Path]) -> None:
    found = server.get("/lora-adapters").body
    for adapter in found:
        Adapter.model_validate(adapter, strict=True)
    assert found == [
        {"id": id_, "path": str(path), "scale": 0.0, "task_name": "", "prompt_prefix": ""}
        for id_, path in enumerate(files)
    ]


def test_flags_give_the_first_scales(files: list[Path]) -> None:
    for one in running("-c", "512", "--lora", str(files[0]), "--lora-scaled", f"{files[1]}:-0.5"):
        assert scales(one) == [1.0, -0.5]
        assert one.get("/props").body["default_generation_settings"]["params"]["lora"] == [
            {"id": 0, "scale": 1.0},
            {"id": 1, "scale": -0.5},
        ]


def test_a_server_without_adapters_has_an_empty_list() -> None:
    for one in running("-c", "512"):
        assert one.get("/lora-adapters").body == []
        assert one.post("/lora-adapters", []).body == {"success": True}
        error = assert_error(one.post("/lora-adapters", OFF), param="[0].id")
        assert error["message"] == "[0].id: 0 is not an adapter; none is loaded (--lora)"
        assert_error(one.post("/completion", {**GREEDY, "lora": FIRST}), param="lora[0].id")
        assert one.post("/completion", {**GREEDY, "lora": []}).status == 200


def test_scales_are_set_for_requests_that_name_none(server: Server) -> None:
    plain, first, both = text(server), text(server, lora=FIRST), text(server, lora=[*FIRST, *SECOND])
    assert len({plain, first, both}) == 3
    assert server.post("/lora-adapters", FIRST).body == {"success": True}
    assert scales(server) == [1.0, 0.0]
    assert text(server) == first
    assert text(server, lora=[]) == first, "an empty list names none"
    assert text(server, lora=OFF) == plain, "what is not named is off"
    server.post("/lora-adapters", [{"id": 1, "scale": 1}, {"id": 0, "scale": 1.0}])
    assert text(server) == both
    server.post("/lora-adapters", SECOND)
    assert scales(server) == [0.0, 1.0], "what is not listed is off"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([{"id": 2, "scale": 1.0}], "[0].id"),
        ([{"id": 0, "scale": 1.0}, {"id": -1, "scale": 1.0}], "[1].id"),
        ([{"id": 2**70, "scale": 1.0}], None),
        ([{"id": "0", "scale": 1.0}], "[0].id"),
        ([{"id": True, "scale": 1.0}], "[0].id"),
        ([{"id": 0.5, "scale": 1.0}], "[0].id"),
        ([{"scale": 1.0}], "[0].id"),
        ([{"id": 0, "scale": "1"}], "[0].scale"),
        ([{"id": 0, "scale": None}], "[0].scale"),
        ([{"id": 0, "scale": 1e9}], "[0].scale"),
        ([{"id": 0}], "[0].scale"),
        ([5], "[0]"),
        ([{"id": 0, "scale": 1.0}] * 1000, None),
        ({"id": 0, "scale": 1.0}, None),
        ("x", None),
    ],
)
def test_wrong_lists_are_refused_and_change_nothing(server: Server, body: Any, param: str | None) -> None:
    server.post("/lora-adapters", FIRST)
    error = assert_error(server.post("/lora-adapters", body), param=param)
    assert error["type"] == "invalid_request_error"
    assert scales(server) == [1.0, 0.0]


def test_bytes_that_are_no_list_are_refused(server: Server) -> None:
    for content in (b"", b"[", b"\xff", b"[" * 100_000, b"null"):
        assert_error(server.post("/lora-adapters", content=content))


# Requests


@pytest.mark.parametrize(
    ("lora", "param"),
    [
        ([{"id": 2, "scale": 1.0}], "lora[0].id"),
        ([*FIRST, {"id": -1, "scale": 1.0}], "lora[1].id"),
        ([{"id": "0", "scale": 1.0}], "lora[0].id"),
        ([{"id": 0, "scale": "much"}], "lora[0].scale"),
        ([{"id": 0, "scale": 1e300}], "lora[0].scale"),
        ([{"id": 0}], "lora[0].scale"),
        (FIRST * 300, "lora"),
        ({"id": 0, "scale": 1.0}, "lora"),
        (True, "lora"),
    ],
)
@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/v1/chat/completions", "/infill", "/v1/responses"])
def test_wrong_adapters_are_named(server: Server, path: str, lora: Any, param: str) -> None:
    assert_error(server.post(path, {**question(path), "lora": lora}), param=param)


def question(path: str) -> dict[str, Any]:
    """A greedy request of each endpoint."""
    if path in ("/completion", "/v1/completions"):
        return GREEDY
    if path == "/infill":
        return {"input_prefix": "Once upon a time", "input_suffix": "the end.", "n_predict": 24, "temperature": 0}
    if path == "/v1/responses":
        return {"input": "Once upon a time", "max_output_tokens": 24, "temperature": 0}
    chat = {"messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 24, "temperature": 0}
    return chat if path != "/api/chat" else {**chat, "stream": False, "options": {"temperature": 0, "num_predict": 24}}


def answer(server: Server, path: str, **fields: Any) -> str:
    """The text of an answer, wherever it stands."""
    found = server.post(path, {**question(path), **fields})
    assert found.status == 200, found.body
    body = found.body
    if path == "/v1/responses":
        return str(body["output"][-1]["content"][0]["text"])
    if path == "/v1/messages":
        return str(body["content"][0]["text"])
    if path == "/api/chat":
        return str(body["message"]["content"])
    if "choices" in body:
        choice = body["choices"][0]
        return str(choice["message"]["content"] if "message" in choice else choice["text"])
    return str(body["content"])


@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/v1/chat/completions", "/infill", "/v1/responses"])
def test_every_endpoint_takes_adapters(server: Server, path: str) -> None:
    plain, first, half = (
        answer(server, path, **fields) for fields in ({}, {"lora": FIRST}, {"lora": [{"id": 0, "scale": 0.5}]})
    )
    assert len({plain, first, half}) == 3
    server.post("/lora-adapters", FIRST)
    assert answer(server, path) == first
    assert answer(server, path, lora=OFF) == plain


@pytest.mark.parametrize("path", ["/v1/messages", "/api/chat"])
def test_other_apis_run_with_the_servers_adapters(server: Server, path: str) -> None:
    plain = answer(server, path)
    server.post("/lora-adapters", FIRST)
    assert answer(server, path) != plain


def test_embeddings_run_with_the_servers_adapters(server: Server) -> None:
    def vector() -> Any:
        return server.post("/embedding", {"content": "Once upon a time"}).body[0]["embedding"]

    plain = vector()
    server.post("/lora-adapters", FIRST)
    assert vector() != plain
    server.post("/lora-adapters", [])
    assert vector() == plain


def test_settings_tell_the_adapters(server: Server) -> None:
    mix = [{"id": 1, "scale": 7.0}, {"id": 1, "scale": 0.25}, {"id": 0, "scale": 1.0}]
    body = server.post("/completion", {**GREEDY, "lora": mix}).body
    Completion.model_validate(body, strict=True)
    assert body["generation_settings"]["lora"] == [mix[2], mix[1]], "as llama-server lists them"
    events = server.stream("/completion", {**GREEDY, "lora": FIRST})
    assert events[-1]["generation_settings"]["lora"] == FIRST


def test_streams_and_choices_have_adapters(server: Server) -> None:
    whole = text(server, lora=FIRST)
    events = server.stream("/completion", {**GREEDY, "lora": FIRST})
    assert "".join(event["content"] for event in events) == whole
    choices = server.post("/completion", {**GREEDY, "lora": FIRST, "n": 2}).body
    assert [choice["content"] for choice in choices] == [whole, whole]


def test_requests_with_different_adapters_run_side_by_side(server: Server) -> None:
    mixes: list[list[dict[str, Any]]] = [OFF, FIRST, SECOND, [*FIRST, *SECOND]] * 4
    alone = [text(server, lora=mix, cache_prompt=False) for mix in mixes[:4]]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda mix: text(server, lora=mix), mixes))
    assert together == alone * 4


def test_a_cached_prompt_serves_its_own_adapters_only(server: Server) -> None:
    prompt = "The cat sat on the mat and looked at the moon, which was big and round and very far away. "

    def ask(lora: list[dict[str, Any]]) -> tuple[str, int, int]:
        body = server.post("/completion", {**GREEDY, "prompt": prompt, "lora": lora}).body
        return body["content"], body["timings"]["cache_n"], body["tokens_evaluated"]

    mixes: list[list[dict[str, Any]]] = [OFF, FIRST, [{"id": 0, "scale": 0.5}], SECOND, [*FIRST, *SECOND]]
    before = [ask(mix) for mix in mixes]
    # All texts begin with the same token, which other tests may have left.
    assert max(cached for _, cached, _ in before) <= 1
    after = [ask(mix) for mix in mixes]
    assert [cached for _, cached, _ in after] == [n - 1 for *_, n in before]
    assert [content for content, *_ in after] == [content for content, *_ in before]
    server.post("/lora-adapters", FIRST)
    body = server.post("/completion", {**GREEDY, "prompt": prompt}).body
    assert (body["content"], body["timings"]["cache_n"]) == (before[1][0], before[1][2] - 1)


# Beside other features


def test_slots_are_saved_with_their_adapters(files: list[Path], tmp_path: Path) -> None:
    flags = ("-c", "1024", "-np", "2", "--slot-save-path", str(tmp_path))
    request = {**GREEDY, "id_slot": 1, "lora": FIRST, "n_probs": 2}
    for one in running(*flags, "--lora", str(files[0]), "--lora-init-without-apply"):
        first = one.post("/completion", request).body
        saved = one.post("/slots/1?action=save", {"filename": "adapted.bin"}).body
        assert saved["n_saved"] == first["tokens_evaluated"] + 23
        assert saved["n_written"] == os.path.getsize(tmp_path / "adapted.bin")
    # In another place, behind another adapter.
    both = ("--lora", f"{files[1]},{files[0]}", "--lora-init-without-apply")
    for one in running(*flags, *both):
        assert one.post("/slots/0?action=restore", {"filename": "adapted.bin"}).status == 200
        for lora, cached in ((OFF, 0), (FIRST, 0), (SECOND, first["tokens_evaluated"] - 1)):
            again = one.post("/completion", {**request, "lora": lora}).body
            assert again["timings"]["cache_n"] == cached, lora
        assert again["content"] == first["content"]
        assert again["completion_probabilities"] == first["completion_probabilities"]
    for more in ((), ("--lora", str(files[1]))):
        for one in running(*flags, *more):
            refused = one.post("/slots/0?action=restore", {"filename": "adapted.bin"})
            error = assert_error(refused, param="filename")
            assert "an adapter that is not loaded" in error["message"]


def test_a_slot_is_erased_with_its_adapters(server: Server, files: list[Path], tmp_path: Path) -> None:
    for one in running("-c", "1024", "-np", "2", "--slot-save-path", str(tmp_path), "--lora", str(files[0])):
        for slot, lora in ((0, OFF), (1, FIRST)):
            one.post("/completion", {**GREEDY, "id_slot": slot, "lora": lora})
        assert one.post("/slots/1?action=erase").body["n_erased"] > 0
        cached = [one.post("/completion", {**GREEDY, "lora": lora}).body["timings"]["cache_n"] for lora in (FIRST, OFF)]
        assert cached[0] == 0
        assert cached[1] > 0


def test_adapters_and_scales_outlive_sleep(files: list[Path]) -> None:
    for one in running("-c", "512", "--sleep-idle-seconds", "1", "--lora", str(files[0])):
        half = [{"id": 0, "scale": 0.5}]
        assert one.post("/lora-adapters", half).body == {"success": True}
        first = one.post("/completion", GREEDY).body["content"]
        deadline = time.monotonic() + 10
        while not one.get("/props").body["is_sleeping"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert one.get("/lora-adapters").body[0]["scale"] == 0.5
        assert one.get("/props").body["is_sleeping"] is True, "asking does not wake it"
        assert one.post("/completion", GREEDY).body["content"] == first
        assert one.post("/completion", {**GREEDY, "lora": half}).body["content"] == first


def test_a_context_shift_keeps_the_adapters(files: list[Path]) -> None:
    long = {**GREEDY, "n_predict": 150, "ignore_eos": True, "lora": FIRST}
    texts = []
    for more in ((), ("-b", "7")):
        for one in running("-c", "64", "-np", "1", "--context-shift", "--lora", str(files[0]), *more):
            texts.append(one.post("/completion", long).body["content"])
    assert texts[0] == texts[1]


def test_a_file_that_does_not_fit_ends_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(write_adapter(tmp_path / "whole.gguf", seed=1).read_bytes()[:-2000])
    with pytest.raises(RuntimeError, match=r"broken\.gguf: blk\.\d\.\w+\.weight\.lora_[ab]: its data"):
        for _ in running("-c", "512", "--lora", str(broken)):
            pass


# The peer


def test_answers_are_llama_servers(files: list[Path]) -> None:
    """Greedy answers with an f32 cache, recorded from llama-server (`tests/data/lora/record.py`)."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    flags = ("-c", "2048", "-np", "4", "-ctk", "f32", "-ctv", "f32")
    assert len(files) == len(ADAPTERS)
    for one in running(*flags, "--lora", ",".join(map(str, files))):
        found = {
            f"{prompt} {json.dumps(mix)}": one.post("/completion", {**REQUEST, "prompt": prompt, "lora": mix}).body
            for prompt in PROMPTS
            for mix in SCALES
        }
    assert {key: body["content"] for key, body in found.items()} == recorded
