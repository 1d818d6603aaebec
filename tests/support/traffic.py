"""Mixed traffic: clients who use every endpoint of a server, in any order, and know what each has to answer."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.server import as_messages

TEXTS = ("Once upon a time", "The little dog", "Lily went to the park", "One day, a boy named Tim found a box.")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}

#: The server of this traffic, beside its directory of saved slots.
FLAGS = ("--embeddings", "--pooling", "mean", "--metrics", "--props", "--max-queue", "64")

#: What the embedded model cannot do, which is all that may answer 501.
UNSERVED = {
    "/infill": "its vocabulary has no tokens for it",
    "/rerank": "it does not rank",
    "/v1/rerank": "it does not rank",
    "/reranking": "it does not rank",
    "/v1/reranking": "it does not rank",
    "/audio/transcriptions": "it takes no sound",
    "/v1/audio/transcriptions": "it takes no sound",
}

#: What is read; the answer is always there.
READ = (
    *("/health", "/v1/health", "/models", "/v1/models", "/props", "/slots", "/metrics", "/lora-adapters"),
    *("/version", "/api/version", "/api/tags", "/api/ps"),
)


@dataclass
class Client:
    """One of the clients, who does one thing after the other."""

    url: str
    number: int
    drawn: random.Random
    #: Answers by method, path and status.
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def work(self, ends: threading.Event) -> None:
        """All actions, and again in another order, until the end. What goes wrong is noted, and the next comes."""
        with self.connection() as http:
            while not ends.is_set():
                for action in self.drawn.sample(ACTIONS, len(ACTIONS)):
                    if ends.is_set():
                        return
                    try:
                        action(self, http)
                    except Exception as error:  # whatever it is, a client has not got what it should have
                        self.faults[f"{action.__name__}: {type(error).__name__}: {error}"[:300]] += 1
                        ends.wait(0.05)

    def connection(self, timeout: float = 120) -> httpx.Client:
        """Connections whose answers are counted."""
        return httpx.Client(base_url=self.url, timeout=timeout, event_hooks={"response": [self._count]})

    def _count(self, response: httpx.Response) -> None:
        self.answers[response.request.method, response.request.url.path, response.status_code] += 1

    def text(self) -> str:
        """A prompt, often one that was there before."""
        return self.drawn.choice(TEXTS) + (f" {self.drawn.randrange(1000)}" if self.drawn.random() < 0.3 else "")

    def messages(self) -> list[dict[str, str]]:
        """A chat."""
        return as_messages(self.text())

    def post(self, http: httpx.Client, path: str, body: Any, statuses: Iterable[int] = (200,)) -> Any:
        """The JSON of an answer that is read as a whole."""
        return self.read(http.post(path, json=body), statuses)

    def read(self, response: httpx.Response, statuses: Iterable[int] = (200,)) -> Any:
        """The JSON of an answer, which must have one of these statuses."""
        where = f"{response.request.method} {response.request.url.path}"
        assert response.status_code in statuses, f"{where}: {response.status_code}: {response.text[:150]}"
        if response.headers.get("content-type", "").startswith("application/json"):
            return response.json()
        return None

    def stream(self, path: str, body: Any, name: str | None = None, leave_after: int | None = None) -> None:
        """A stream on a connection of its own, which is read to its end or left after so many lines."""
        headers = {} if name is None else {"X-Conversation-Id": name}
        with (
            self.connection() as own,
            own.stream("POST", path, json={**body, "stream": True}, headers=headers) as response,
        ):
            self.read_lines(response, leave_after)

    def read_lines(self, response: httpx.Response, leave_after: int | None = None) -> None:
        """Reads a stream, whose events must be JSON and none of them an error."""
        assert response.status_code == 200, f"{response.request.url.path}: {response.status_code}"
        for number, line in enumerate(response.iter_lines()):
            if number == leave_after:
                return
            text = line.removeprefix("data: ")
            if text.startswith("{"):
                assert "error" not in json.loads(text), f"{response.request.url.path}: {text[:150]}"

    def somewhere(self) -> int | None:
        """After how many lines a stream is left, if it is."""
        return self.drawn.choice([None, None, 1, 5, 20])


Action = Callable[[Client, httpx.Client], None]


def _read(me: Client, http: httpx.Client) -> None:
    for path in READ:
        me.read(http.get(path))
    me.read(http.get("/none"), (404,))


def _count_tokens(me: Client, http: httpx.Client) -> None:
    messages = {"messages": me.messages()}
    for path in ("/chat/completions", "/v1/chat/completions"):
        me.post(http, f"{path}/input_tokens", messages)
    for path in ("/responses", "/v1/responses"):
        me.post(http, f"{path}/input_tokens", {"input": me.text()})
    me.post(http, "/v1/messages/count_tokens", messages)


def _texts(me: Client, http: httpx.Client) -> None:
    me.post(http, "/tokenize", {"content": me.text() * me.drawn.choice([1, 2000])})
    me.post(http, "/detokenize", {"tokens": [1, 5, 9]})
    me.post(http, "/apply-template", {"messages": me.messages()})


def _settings(me: Client, http: httpx.Client) -> None:
    me.post(http, "/props", {})
    me.post(http, "/lora-adapters", [])
    me.post(http, "/api/show", {"model": "any"})


def _chat(me: Client, http: httpx.Client) -> None:
    body: dict[str, Any] = {"messages": me.messages(), "max_tokens": me.drawn.choice([1, 8, 40])}
    kind = me.drawn.randrange(5)
    if kind == 0:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    elif kind == 1:
        body |= {"tools": [TOOL], "tool_choice": "required"}
    elif kind == 2:
        body |= {"logprobs": True, "top_logprobs": 5, "n": 2}
    me.post(http, me.drawn.choice(["/v1/chat/completions", "/chat/completions"]), body)


def _completion(me: Client, http: httpx.Client) -> None:
    body: dict[str, Any] = {"prompt": me.text(), "n_predict": me.drawn.choice([1, 8, 60])}
    if me.drawn.random() < 0.2:
        body["grammar"] = f'root ::= "a{me.drawn.randrange(100)}"+'
    me.post(http, me.drawn.choice(["/completion", "/completions"]), body)
    me.post(http, "/v1/completions", {"prompt": [me.text(), me.text()], "max_tokens": 8})


def _other_apis(me: Client, http: httpx.Client) -> None:
    me.post(http, me.drawn.choice(["/responses", "/v1/responses"]), {"input": me.text(), "max_output_tokens": 16})
    me.post(http, "/v1/messages", {"messages": me.messages(), "max_tokens": 16})
    ollama = {"model": "any", "stream": False, "options": {"num_predict": 8}}
    me.post(http, "/api/generate", {**ollama, "prompt": me.text()})
    me.post(http, "/api/chat", {**ollama, "messages": me.messages()})


def _embed(me: Client, http: httpx.Client) -> None:
    texts = [me.text()] * me.drawn.choice([1, 16])
    me.post(http, me.drawn.choice(["/v1/embeddings", "/embeddings"]), {"input": texts})
    me.post(http, "/embedding", {"content": me.text()})
    me.post(http, "/api/embed", {"model": "any", "input": texts})
    me.post(http, "/api/embeddings", {"model": "any", "prompt": me.text()})


def _unserved(me: Client, http: httpx.Client) -> None:
    body = {"query": "a dog", "documents": [me.text()], "input_prefix": "a", "input_suffix": "b"}
    for path in UNSERVED:
        me.post(http, path, body, (501,))


def _stream(me: Client, http: httpx.Client) -> None:
    chat = {"messages": me.messages(), "max_tokens": 60}
    bodies = {
        "/v1/chat/completions": chat,
        "/v1/messages": chat,
        "/v1/completions": {"prompt": me.text(), "max_tokens": 60},
        "/completion": {"prompt": me.text(), "n_predict": 200, "n_probs": 3},
        "/v1/responses": {"input": me.text(), "max_output_tokens": 60},
        "/api/chat": {"model": "any", "messages": me.messages(), "options": {"num_predict": 60}},
        "/api/generate": {"model": "any", "prompt": me.text(), "options": {"num_predict": 60}},
    }
    for path in me.drawn.sample(list(bodies), 3):
        me.stream(path, bodies[path], leave_after=me.somewhere())


def _come_back(me: Client, http: httpx.Client) -> None:
    """A stream with a name is left, asked after, gone on with and at times stopped."""
    name = f"client-{me.number}-{me.drawn.randrange(3)}"
    me.stream("/completion", {"prompt": me.text(), "n_predict": 60}, name, leave_after=me.somewhere())
    (state,) = me.post(http, "/v1/streams/lookup", {"conversation_ids": [name]})
    assert state["conversation_id"] == name
    where = {"conv_id": name}
    with me.connection() as own, own.stream("GET", "/v1/stream", params={**where, "from": 0}) as response:
        me.read_lines(response, me.somewhere())
    if me.drawn.random() < 0.5:
        me.read(http.delete("/v1/stream", params=where), (204,))
        me.read(http.get("/v1/stream", params=where), (404,))


def _control(me: Client, http: httpx.Client) -> None:
    answer = me.post(http, "/v1/chat/completions/control", {"id": "chatcmpl-none", "action": "reasoning_end"})
    assert answer["success"] is False


def _slot(me: Client, http: httpx.Client) -> None:
    """Slots change while others use them: a file may not be there, and a slot may have nothing to save."""
    number, body = me.drawn.randrange(4), {"filename": f"f{me.drawn.randrange(3)}"}
    for action in me.drawn.sample(["save", "restore", "erase"], 2):
        me.post(http, f"/slots/{number}?action={action}", body, (200, 400))


def _leave(me: Client, http: httpx.Client) -> None:
    """A whole answer is not waited for."""
    with suppress(httpx.TimeoutException), me.connection(timeout=0.02) as own:
        own.post("/completion", json={"prompt": me.text(), "n_predict": 400, "ignore_eos": True})


def _bad(me: Client, http: httpx.Client) -> None:
    path = me.drawn.choice(["/completion", "/v1/chat/completions", "/tokenize", "/v1/messages", "/api/chat"])
    contents = [b"", b"{", b"[" * 1000, b'{"prompt": "\xff"}', b'{"prompt": [999999], "messages": 5, "content": 5}']
    headers = {"content-type": "application/json"}
    me.read(http.post(path, content=me.drawn.choice(contents), headers=headers), (400,))


ACTIONS: list[Action] = [
    *(_read, _count_tokens, _texts, _settings, _chat, _completion, _other_apis, _embed, _unserved),
    *(_stream, _come_back, _control, _slot, _leave, _bad),
]


def not_asked(document: dict[str, Any], answers: Counter[tuple[str, str, int]]) -> list[str]:
    """Operations of an OpenAPI document that have not answered as they have to: with success, or with 501 where
    `UNSERVED` has a reason for that."""
    missing = []
    for path, operations in document["paths"].items():
        pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
        for method in operations:
            seen = {status for (verb, asked, status) in answers if verb == method.upper() and pattern.fullmatch(asked)}
            wanted = {501} if path in UNSERVED else {200, 204}
            if not seen & wanted:
                missing.append(f"{method.upper()} {path}: {sorted(seen) or 'never asked'}")
    return missing
