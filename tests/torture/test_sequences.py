"""What clients do in any order: answers, streams that are read, finished or left, slots that are saved, restored and
erased, a model that sleeps, wakes, is unloaded and loaded. Afterwards nothing is held, and answers are as before."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import router
from tests.support.attack import LONG, Witness, idle, settles, witness
from tests.support.server import Server, as_messages, running
from tests.torture.conftest import Report

EXAMPLES, STEPS = (100, 40) if LONG else (10, 20)
BUDGET = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)

TEXTS = ("Once upon a time", "The little dog", "Lily and Ben went to the park and saw a big red ball")
N_SLOTS = 2


class Stream:
    """A stream of a client of its own, whose events are checked as they come."""

    def __init__(self, server: Server, path: str, body: dict[str, Any]) -> None:
        self.client = httpx.Client(base_url=server.url, timeout=60)
        self.response = self.client.send(
            self.client.build_request("POST", path, json={**body, "stream": True}), stream=True
        )
        assert self.response.status_code == 200, self.response.read()
        self.lines = self.response.iter_lines()
        self.n_tokens = 0
        self.last: dict[str, Any] | None = None

    def read(self, events: int | None = None) -> None:
        """Reads so many events, or all there are."""
        for line in self.lines:
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            self.take(event)
            if events is not None and (events := events - 1) == 0:
                return

    def take(self, event: dict[str, Any]) -> None:
        """Counts never go back, and nothing follows the last event."""
        assert self.last is None or not self.last.get("stop"), "an event after the last"
        if "tokens_predicted" in event and not event["stop"]:
            assert event["tokens_predicted"] > self.n_tokens
            self.n_tokens = event["tokens_predicted"]
        self.last = event

    def close(self) -> None:
        """Leaves."""
        self.response.close()
        self.client.close()


class Sessions(RuleBasedStateMachine):
    """One server and what its clients do."""

    server: Server
    good: Witness
    #: Of the process, over all examples.
    tried = 0

    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Stream] = []
        self.saved: set[str] = set()

    @rule(target=streams, text=st.sampled_from(TEXTS), n=st.sampled_from([5, 40, 200]), slot=st.integers(-1, 1))
    @precondition(lambda self: len(self.open) < N_SLOTS)
    def start(self, text: str, n: int, slot: int) -> Stream:
        body = {"prompt": text, "n_predict": n, "ignore_eos": True, "seed": 3}
        # A stream that waits for a slot which another holds would be waited for in vain.
        stream = Stream(self.server, "/completion", {**body, "id_slot": slot} if not self.open else body)
        self.open.append(stream)
        return stream

    @rule(stream=streams, n=st.integers(1, 5))
    def read(self, stream: Stream, n: int) -> None:
        if stream in self.open and not (stream.last or {}).get("stop"):
            stream.read(n)

    @rule(stream=consumes(streams))
    def finish(self, stream: Stream) -> None:
        if stream not in self.open:
            return
        stream.read()
        assert stream.last is not None
        assert stream.last["stop"], "it ended without its last event"
        assert stream.last["tokens_predicted"] == stream.last["timings"]["predicted_n"]
        assert stream.last["tokens_predicted"] - stream.n_tokens <= 1
        self.leave(stream)

    @rule(stream=consumes(streams))
    def cancel(self, stream: Stream) -> None:
        if stream in self.open:
            self.leave(stream)

    def leave(self, stream: Stream) -> None:
        stream.close()
        self.open.remove(stream)

    @rule(n=st.integers(1, 3), tokens=st.integers(1, 8))
    @precondition(lambda self: not self.open)
    def ask(self, n: int, tokens: int) -> None:
        body = self.server.chat("Hey", n=n, max_tokens=tokens, ignore_eos=True).body
        usage = body["usage"]
        assert len(body["choices"]) == n
        assert usage["completion_tokens"] == n * tokens
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    @rule(prompts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4))
    @precondition(lambda self: not self.open)
    def ask_several(self, prompts: list[str]) -> None:
        body = self.server.post("/v1/completions", {"prompt": prompts, "max_tokens": 3, "ignore_eos": True}).body
        assert [choice["index"] for choice in body["choices"]] == list(range(len(prompts)))
        assert body["usage"]["completion_tokens"] == 3 * len(prompts)

    @rule(body=st.sampled_from([b"{", b"{}", b'{"prompt": []}', b'{"prompt": "x", "n_predict": -2}', b"[" * 1000]))
    def refuse(self, body: bytes) -> None:
        assert self.server.post("/completion", content=body).status == 400

    # Saving and erasing wait for the slot, and so for the streams in it.
    @rule(slot=st.integers(0, N_SLOTS - 1), name=st.sampled_from(["a", "b"]))
    @precondition(lambda self: not self.open)
    def save(self, slot: int, name: str) -> None:
        assert self.server.post(f"/slots/{slot}?action=save", {"filename": name}).status == 200
        self.saved.add(name)

    @rule(slot=st.integers(0, N_SLOTS - 1), name=st.sampled_from(["a", "b"]))
    @precondition(lambda self: not self.open)
    def restore(self, slot: int, name: str) -> None:
        status = self.server.post(f"/slots/{slot}?action=restore", {"filename": name}).status
        assert status == (200 if name in self.saved else 400)

    @rule(slot=st.integers(0, N_SLOTS - 1))
    @precondition(lambda self: not self.open)
    def erase(self, slot: int) -> None:
        assert self.server.post(f"/slots/{slot}?action=erase").status == 200

    @rule()
    @precondition(lambda self: not self.open)
    def good_request(self) -> None:
        self.good.ask(self.server.client)
        assert not self.good.wrong

    @rule()
    @precondition(lambda self: not self.open)
    def sleep(self) -> None:
        assert settles(lambda: not self.server.get("/props").body["is_sleeping"], 0, 10) == 0

    @invariant()
    def no_slot_too_many(self) -> None:
        if self.open:  # a look at the slots would wake a model that sleeps
            busy = sum(slot["is_processing"] for slot in self.server.get("/slots").body)
            assert busy <= N_SLOTS

    def teardown(self) -> None:
        Sessions.tried += 1
        for stream in list(self.open):
            self.leave(stream)
        assert idle(self.server), "a slot is held"
        held = lambda: metric(self.server, "vllm:kv_cache_usage_perc")  # noqa: E731
        assert settles(held, 0) == 0, "blocks are held"
        assert metric(self.server, "llamacpp:requests_deferred") == 0
        self.good_request()
        for name in self.saved:
            (self.directory / name).unlink()

    directory: Path


def metric(server: Server, name: str) -> float:
    """The value of a gauge."""
    text = server.client.get("/metrics").text
    found = re.search(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
    assert found, text
    return float(found[1])


@pytest.mark.timeout(1800)
def test_one_model(tmp_path: Path, report: Report) -> None:
    flags = ("-c", "1024", "-np", str(N_SLOTS), "--slot-save-path", str(tmp_path), "--metrics", "-lv", "1")
    for server in running(*flags, "--sleep-idle-seconds", "1"):
        Sessions.server, Sessions.good, Sessions.directory, Sessions.tried = server, witness(server), tmp_path, 0
        run_state_machine_as_test(Sessions, settings=BUDGET)
        report.add("sequences on one model", Sessions.tried)


class Routed(RuleBasedStateMachine):
    """A router whose models are loaded, used and unloaded in any order."""

    server: Server
    want: str
    tried = 0

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Stream] = []

    @rule(model=st.sampled_from("ab"))
    def load(self, model: str) -> None:
        status = self.server.post("/models/load", {"model": model}).status
        assert status in (200, 400), "400: it is loaded"

    @rule(model=st.sampled_from("ab"))
    def unload(self, model: str) -> None:
        status = self.server.post("/models/unload", {"model": model}).status
        assert status in (200, 400), "400: it is not loaded"

    @rule(model=st.sampled_from("ab"))
    def ask(self, model: str) -> None:
        answer = self.server.chat("Hey", model=model, max_tokens=6, temperature=0)
        assert answer.status == 200, answer.body
        assert answer.body["choices"][0]["message"]["content"] == self.want

    @rule(model=st.sampled_from("ab"), n=st.integers(1, 4))
    def leave_a_stream(self, model: str, n: int) -> None:
        body = {"model": model, "prompt": TEXTS[0], "n_predict": 400, "ignore_eos": True}
        stream = Stream(self.server, "/completion", body)
        stream.read(n)
        stream.close()

    @rule(body=st.sampled_from([{}, {"model": "none"}, {"model": 5}, {"model": "../a"}]))
    def refuse(self, body: dict[str, Any]) -> None:
        assert self.server.post("/completion", {"prompt": "x", **body}).status in (400, 404)
        assert self.server.post("/models/load", body).status in (400, 404)

    def teardown(self) -> None:
        Routed.tried += 1
        for model in "ab":
            self.ask(model)


def content(server: Server, model: str) -> str:
    """What a model answers when it is left alone."""
    answer = server.post(
        "/v1/chat/completions", {"model": model, "messages": as_messages("Hey"), "max_tokens": 6, "temperature": 0}
    )
    text: str = answer.body["choices"][0]["message"]["content"]
    return text


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Server]:
    models = router.models_directory(tmp_path, "a", "b")
    yield from running("--models-dir", str(models), "-c", "512", "-lv", "1", env=router.environment(tmp_path))


@pytest.mark.timeout(1800)
def test_models_of_a_router(routed: Server, report: Report) -> None:
    Routed.server, Routed.want, Routed.tried = routed, content(routed, "a"), 0
    run_state_machine_as_test(
        Routed, settings=settings(BUDGET, max_examples=max(3, EXAMPLES // 10), stateful_step_count=10)
    )
    report.add("sequences on a router", Routed.tried)
    router.unload(routed, "a", "b")
    time.sleep(0.1)
    assert router.children(routed.process.pid) == []
