"""What clients of a router do in any order: models are loaded and unloaded while streams of them are begun, read,
finished and left. A stream that has begun ends as if nothing else had happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.support import router
from tests.support.apis import APIS, Api
from tests.support.asked import Answers, Asked
from tests.support.attack import LONG
from tests.support.server import Server, running
from tests.torture.conftest import Report
from tests.torture.streaming import BUDGET, EXAMPLES, LENGTHS, N_OPEN, TEXTS, Streaming

MODELS = st.sampled_from("ab")


class Routed(Streaming):
    """A router whose models are loaded, used and unloaded."""

    tried = 0

    @rule(model=MODELS)
    def load(self, model: str) -> None:
        status = self.server.post("/models/load", {"model": model}).status
        assert status in (200, 400), "400: it is loaded"

    @rule(model=MODELS)
    def unload(self, model: str) -> None:
        status = self.server.post("/models/unload", {"model": model}).status
        assert status in (200, 400), "400: it is not loaded"

    @rule(model=MODELS, api=st.sampled_from(APIS), text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS))
    def ask(self, model: str, api: Api, text: str, n: int) -> None:
        assert Answers(self.server, {"model": model}).ask(api, text, n) == self.answers.first(api, text, n)

    @rule(model=MODELS, api=st.sampled_from(APIS), text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS))
    @precondition(lambda self: len(self.open) < N_OPEN)
    def start(self, model: str, api: Api, text: str, n: int) -> None:
        self.open.append(Asked(self.server, api, text, n, model=model))

    @rule(body=st.sampled_from([{}, {"model": "none"}, {"model": 5}, {"model": "../a"}]))
    def refuse(self, body: dict[str, Any]) -> None:
        assert self.server.post("/completion", {"prompt": "x", **body}).status in (400, 404)
        assert self.server.post("/models/load", body).status in (400, 404)

    def teardown(self) -> None:
        Routed.tried += 1
        while self.open:
            self.finish(0)
        for model in "ab":
            self.ask(model, APIS[0], TEXTS[0], LENGTHS[0])


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Server]:
    models = router.models_directory(tmp_path, "a", "b")
    flags = ("--models-dir", str(models), "-c", "1024", "-np", "2", "-lv", "1")
    yield from running(*flags, env=router.environment(tmp_path))


@pytest.mark.timeout(1800)
def test_models_of_a_router(routed: Server, report: Report) -> None:
    Routed.server, Routed.answers, Routed.tried = routed, Answers(routed, {"model": "a"}), 0
    budget = settings(BUDGET, max_examples=EXAMPLES if LONG else 5, stateful_step_count=15)
    run_state_machine_as_test(Routed, settings=budget)
    report.add("sequences on a router", Routed.tried)
    router.unload(routed, "a", "b")
    time.sleep(0.1)
    assert router.children(routed.process.pid) == []
