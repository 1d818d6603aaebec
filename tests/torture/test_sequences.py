"""What clients do in any order: answers and streams of all APIs, more than there are slots, that are read, finished or
left, beside slots that are saved, restored and erased and a model that sleeps. Every stream has the text of the whole
answer to the same request, and what is open accounts for what the server holds."""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from pathlib import Path
from select import select

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.apis import APIS, COMPLETION, Api
from tests.support.asked import Answers, Asked
from tests.support.attack import LONG, Witness, metric, settles, witness
from tests.support.crowd import post
from tests.support.server import Server, running
from tests.torture.conftest import Report
from tests.torture.streaming import BUDGET, LENGTHS, N_OPEN, TEXTS, Streaming

N_SLOTS = 2
SLOTS = st.integers(0, N_SLOTS - 1)
NAMES = st.sampled_from("ab")
#: How often the model sleeps in one sequence, which takes a second each time.
SLEEPS = 9 if LONG else 1


class SlotAction:
    """Something that is done to a slot once that is free. Its answer is read later."""

    def __init__(self, server: Server, action: str, slot: int, name: str, statuses: set[int]) -> None:
        self.action, self.slot, self.name, self.statuses = action, slot, name, statuses
        self.connection = post(server, f"/slots/{slot}?action={action}", {"filename": name})

    def wait(self) -> None:
        """Waits until it is done."""
        response = self.connection.getresponse()
        body = json.loads(response.read())
        assert response.status in self.statuses, (self.action, body)
        assert response.status == 200 or "there is no saved slot" in body["error"]["message"]
        self.connection.close()


class Sessions(Streaming):
    """One server and what its clients do."""

    good: Witness
    directory: Path
    #: Of the process, over all examples.
    tried = 0

    def __init__(self) -> None:
        super().__init__()
        self.holder: Asked | None = None
        #: What has asked for the holder's slot since then.
        self.kept_waiting: list[HTTPConnection] = []
        self.actions: list[SlotAction] = []
        self.saved: set[str] = set()
        self.n_sleeps = 0

    # Streams

    @rule(api=st.sampled_from(APIS), text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS))
    @precondition(lambda self: len(self.open) < N_OPEN)
    def start(self, api: Api, text: str, n: int) -> None:
        self.open.append(Asked(self.server, api, text, n))

    @rule(text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS), slot=SLOTS)
    @precondition(lambda self: len(self.open) < N_OPEN)
    def start_in_a_slot(self, text: str, n: int, slot: int) -> None:
        asked = Asked(self.server, COMPLETION, text, n, id_slot=slot)
        self.open.append(asked)
        if self.waits(slot):
            self.kept_waiting.append(asked.stream.connection)

    @rule(text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS))
    @precondition(lambda self: not self.open)
    def start_more_than_there_are_slots(self, text: str, n: int) -> None:
        self.open += [Asked(self.server, api, text, n) for api in APIS[:N_OPEN]]

    # A slot that is taken

    @rule(slot=SLOTS)
    @precondition(lambda self: self.holder is None)
    def hold(self, slot: int) -> None:
        """Begins an answer without an end in a slot, for which others have to wait."""
        self.holder = Asked(self.server, COMPLETION, TEXTS[0], -1, id_slot=slot)
        self.holder.stream.read(1)

    @rule()
    @precondition(lambda self: self.holder is not None)
    def let_go(self) -> None:
        assert self.holder is not None
        self.holder.stream.close()
        self.holder = None
        self.kept_waiting.clear()

    def waits(self, slot: int | None) -> bool:
        """Whether what has to have this slot would be waited for in vain."""
        return self.holder is not None and self.holder.slot == slot

    # Whole answers

    @rule(api=st.sampled_from(APIS), text=st.sampled_from(TEXTS), n=st.sampled_from(LENGTHS))
    def ask(self, api: Api, text: str, n: int) -> None:
        assert self.answers.ask(api, text, n) == self.answers.first(api, text, n)

    @rule(n=st.integers(1, 3), tokens=st.integers(1, 8))
    def ask_for_choices(self, n: int, tokens: int) -> None:
        body = self.server.chat("Hey", n=n, max_tokens=tokens, ignore_eos=True).body
        usage = body["usage"]
        assert len(body["choices"]) == n
        assert usage["completion_tokens"] == n * tokens
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    @rule(prompts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4))
    def ask_several(self, prompts: list[str]) -> None:
        body = self.server.post("/v1/completions", {"prompt": prompts, "max_tokens": 3, "ignore_eos": True}).body
        assert [choice["index"] for choice in body["choices"]] == list(range(len(prompts)))
        assert body["usage"]["completion_tokens"] == 3 * len(prompts)
        assert body["usage"]["prompt_tokens"] == sum(self.answers.n_tokens(COMPLETION, text) for text in prompts)

    @rule(body=st.sampled_from([b"{", b"{}", b'{"prompt": []}', b'{"prompt": "x", "n_predict": -2}', b"[" * 1000]))
    def refuse(self, body: bytes) -> None:
        assert self.server.post("/completion", content=body).status == 400

    @rule()
    def good_request(self) -> None:
        self.good.ask(self.server.client)
        assert not self.good.wrong

    # Slots

    @rule(slot=SLOTS, name=NAMES)
    def save(self, slot: int, name: str) -> None:
        self.act("save", slot, name, {200})

    @rule(slot=SLOTS, name=NAMES)
    def restore(self, slot: int, name: str) -> None:
        is_being_saved = any((other.action, other.name) == ("save", name) for other in self.actions)
        self.act("restore", slot, name, {200} if name in self.saved else {200, 400} if is_being_saved else {400})

    @rule(slot=SLOTS)
    def erase(self, slot: int) -> None:
        self.act("erase", slot, "", {200})

    def act(self, action: str, slot: int, name: str, statuses: set[int]) -> None:
        begun = SlotAction(self.server, action, slot, name, statuses)
        self.actions.append(begun)
        if self.waits(slot) and statuses == {200}:  # that there is no such file is said at once
            self.kept_waiting.append(begun.connection)

    @rule()
    @precondition(lambda self: self.actions)
    def wait_for_slots(self) -> None:
        for action in [action for action in self.actions if not self.waits(action.slot)]:
            action.wait()
            self.actions.remove(action)
            self.saved |= {action.name} if action.action == "save" else set()

    # Sleep

    @rule()
    @precondition(lambda self: self.n_sleeps < SLEEPS)
    def sleep(self) -> None:
        self.n_sleeps += 1
        if self.holder is None:
            # It waits for what runs, and not for clients who have not read yet.
            assert settles(lambda: not self.is_sleeping, 0, 20) == 0
            return
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            self.holder.stream.read(100)
        assert not self.is_sleeping

    @property
    def is_sleeping(self) -> bool:
        return bool(self.server.get("/props").body["is_sleeping"])

    # What must be true at any time

    @invariant()
    def what_is_open_accounts_for_what_is_held(self) -> None:
        if self.is_sleeping:  # a look at the slots would wake it
            return
        assert self.n_busy() <= N_SLOTS
        n_running = sum(not asked.stream.has_ended for asked in self.open) + (self.holder is not None)
        # A client who has just left is noticed at the next step.
        assert settles(self.n_busy, n_running) <= n_running, "a slot is held"
        assert settles(lambda: metric(self.server, "llamacpp:requests_deferred"), n_running) <= n_running
        if n_running == 0 and not self.actions:
            assert settles(lambda: metric(self.server, "vllm:kv_cache_usage_perc"), 0) == 0, "blocks are held"

    @invariant()
    def who_waits_for_a_slot_that_is_taken_goes_on_waiting(self) -> None:
        if self.holder is not None:
            self.holder.stream.read(50)
            sockets = [connection.sock for connection in self.kept_waiting if connection.sock is not None]
            assert not select(sockets, [], [], 0)[0]

    def n_busy(self) -> int:
        return sum(slot["is_processing"] for slot in self.server.get("/slots").body)

    def teardown(self) -> None:
        Sessions.tried += 1
        if self.holder is not None:
            self.let_go()
        while self.open:
            self.finish(0)
            if self.open:
                self.cancel(0)
        self.wait_for_slots()
        self.what_is_open_accounts_for_what_is_held()
        self.good_request()
        for name in self.saved:
            (self.directory / name).unlink()


@pytest.mark.timeout(1800)
def test_one_model(tmp_path: Path, report: Report) -> None:
    flags = ("-c", "1024", "-np", str(N_SLOTS), "--context-shift", "--metrics", "-lv", "1")
    for server in running(*flags, "--slot-save-path", str(tmp_path), "--sleep-idle-seconds", "1"):
        Sessions.server, Sessions.good, Sessions.directory, Sessions.tried = server, witness(server), tmp_path, 0
        Sessions.answers = Answers(server)
        run_state_machine_as_test(Sessions, settings=BUDGET)
        report.add("sequences on one model", Sessions.tried)
