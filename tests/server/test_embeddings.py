"""The embedding and rerank endpoints: llama-server's shapes, OpenAI's client, and what is refused."""

from __future__ import annotations

import base64
import threading
import time
from array import array
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rustllm.server.native.embedding.schemas import NativeEmbedding
from rustllm.server.native.rerank.schemas import RankedText, Ranking
from rustllm.server.openai.embeddings.schemas import Embeddings
from tests.support.embeddings import CLS, MINILM, RANK, cosine, recorded
from tests.support.server import Server, assert_error, running
from tests.support.strategies import BUDGET, EMBEDDING_OUT_OF_RANGE, EMBEDDING_WRONG, JSON, RERANK_WRONG

RERANK_PATHS = ("/rerank", "/v1/rerank", "/reranking", "/v1/reranking")
CATS = ["the cat", "the dog in a house", "a red book"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An encoder, which needs no flag."""
    yield from running("-m", str(CLS), "--alias", "small", "-b", "200")


@pytest.fixture(scope="module")
def ranker() -> Iterator[Server]:
    yield from running("-m", str(RANK), "--rerank", "--alias", "ranker")


@pytest.fixture(scope="module")
def tokens() -> Iterator[Server]:
    yield from running("-m", str(CLS), "--embedding", "--pooling", "none")


@pytest.fixture(scope="module")
def stories() -> Iterator[Server]:
    yield from running()


def vector(server: Server, text: Any, **fields: Any) -> Any:
    answer = server.post("/v1/embeddings", {"input": text, **fields})
    assert answer.status == 200, answer.body
    return answer.body["data"][0]["embedding"]


def test_openai_shape(server: Server) -> None:
    answer = server.post("/v1/embeddings", {"input": CATS, "model": "any"})
    TypeAdapter(Embeddings).validate_python(answer.body, strict=True)
    assert [entry["index"] for entry in answer.body["data"]] == [0, 1, 2]
    assert answer.body["model"] == "any"
    assert answer.body["usage"] == {"prompt_tokens": 16, "total_tokens": 16}
    assert server.post("/v1/embeddings", {"input": "the cat"}).body["model"] == "small"
    for text, entry in zip(CATS, answer.body["data"], strict=True):
        assert entry["embedding"] == vector(server, text)


def test_inputs_of_every_form(server: Server) -> None:
    ids = server.post("/tokenize", {"content": "the cat", "add_special": True}).body["tokens"]
    want = vector(server, "the cat")
    assert vector(server, ids) == want
    assert vector(server, [ids]) == want
    assert vector(server, ["the cat"]) == want
    assert vector(server, {"prompt_string": "the cat"}) == want
    body = {"input": ["the dog", ids, {"prompt_string": "the cat"}]}
    first, *others = server.post("/v1/embeddings", body).body["data"]
    assert first["embedding"] == vector(server, "the dog")
    assert [entry["embedding"] for entry in others] == [want, want]
    # One text with a token behind it, as in llama-server.
    assert len(server.post("/v1/embeddings", {"input": ["the", 37]}).body["data"]) == 1
    assert len(vector(server, "")) == 64


def test_base64_has_the_same_numbers(server: Server) -> None:
    answer = server.post("/v1/embeddings", {"input": CATS, "encoding_format": "base64"})
    TypeAdapter(Embeddings).validate_python(answer.body, strict=True)
    for text, entry in zip(CATS, answer.body["data"], strict=True):
        assert entry["encoding_format"] == "base64"
        assert array("f", base64.b64decode(entry["embedding"])).tolist() == vector(server, text)


def test_dimensions_are_cut_and_normalized_anew(server: Server) -> None:
    short, whole = vector(server, "the cat", dimensions=10), vector(server, "the cat")
    assert len(short) == 10
    assert cosine(short, whole[:10]) == pytest.approx(1)
    assert sum(x * x for x in short) == pytest.approx(1)
    assert vector(server, "the cat", dimensions=64) == whole


def test_norms(server: Server) -> None:
    raw = vector(server, "the cat", embd_normalize=-1)
    assert max(abs(x) for x in vector(server, "the cat", embd_normalize=0)) == pytest.approx(32760)
    assert sum(abs(x) for x in vector(server, "the cat", embd_normalize=1)) == pytest.approx(1)
    assert sum(abs(x) ** 3 for x in vector(server, "the cat", embd_normalize=3)) == pytest.approx(1)
    assert cosine(raw, vector(server, "the cat")) == pytest.approx(1)
    for path in ("/embedding", "/embeddings"):
        assert server.post(path, {"content": "the cat", "embd_normalize": -1}).body[0]["embedding"] == [raw]


def test_the_norm_of_the_server() -> None:
    for one in running("-m", str(CLS), "--embd-normalize", "1"):
        assert sum(abs(x) for x in vector(one, "the cat")) == pytest.approx(1)
        assert sum(x * x for x in vector(one, "the cat", embd_normalize=2)) == pytest.approx(1)


def test_native_shape(server: Server) -> None:
    for path in ("/embedding", "/embeddings"):
        for body in ({"content": CATS}, {"input": CATS}, {"input": CATS, "content": "other"}):
            answer = server.post(path, body)
            TypeAdapter(list[NativeEmbedding]).validate_python(answer.body, strict=True)
            assert [entry["embedding"] for entry in answer.body] == [[vector(server, text)] for text in CATS]


def test_vectors_of_each_token(tokens: Server) -> None:
    answer = tokens.post("/embedding", {"content": ["the cat", "a"], "embd_normalize": 2})
    TypeAdapter(list[NativeEmbedding]).validate_python(answer.body, strict=True)
    assert [len(entry["embedding"]) for entry in answer.body] == [4, 3]
    assert sum(x * x for x in answer.body[0]["embedding"][0]) > 2, "they are not normalized"
    error = assert_error(tokens.post("/v1/embeddings", {"input": "the cat"}))
    assert "Pooling type 'none' is not OAI compatible" in error["message"]


def test_decoders_embed_on_demand(stories: Server) -> None:
    for path in ("/v1/embeddings", "/embedding", "/embeddings"):
        error = assert_error(stories.post(path, {"input": "Once"}), 501)
        assert error["message"] == "This server does not support embeddings. Start it with `--embeddings`"
    for one in running("--embeddings", "--pooling", "mean"):
        assert len(vector(one, "Once upon a time")) == 64
        assert one.post("/completion", {"prompt": "Once", "n_predict": 2}).status == 200
        assert one.get("/v1/models").body["models"][0]["capabilities"] == ["completion"]


def test_encoders_do_nothing_else(server: Server) -> None:
    for path, body in (
        ("/completion", {"prompt": "the cat"}),
        ("/v1/completions", {"prompt": "the cat"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "the cat"}]}),
    ):
        for stream in (False, True):
            error = assert_error(server.post(path, {**body, "stream": stream}), 501)
            assert "bert is an encoder" in error["message"]
    assert server.get("/v1/models").body["models"][0]["capabilities"] == ["embedding"]
    assert "/v1/embeddings" in server.output()


def test_scores_in_jinas_shape(ranker: Server) -> None:
    peer = recorded()
    for path in RERANK_PATHS:
        answer = ranker.post(path, {"query": peer["query"], "documents": peer["documents"]})
        TypeAdapter(Ranking).validate_python(answer.body, strict=True)
        assert answer.body["usage"]["prompt_tokens"] == peer["rank_tokens"]
        scores = [row["relevance_score"] for row in answer.body["results"]]
        assert scores == sorted(scores, reverse=True)
        for row in answer.body["results"]:
            assert row["relevance_score"] == pytest.approx(peer["rank"][row["index"]], abs=1e-3)


def test_scores_in_the_other_shape(ranker: Server) -> None:
    body = {"query": "what", "texts": CATS}
    answer = ranker.post("/rerank", body)
    TypeAdapter(list[RankedText]).validate_python(answer.body, strict=True)
    assert all(row.keys() == {"index", "score"} for row in answer.body)
    for row in ranker.post("/rerank", {**body, "return_text": True, "raw_scores": True}).body:
        assert row["text"] == CATS[row["index"]]


def test_top_n_and_documents(ranker: Server) -> None:
    body = {"query": "what", "documents": CATS}
    whole = ranker.post("/v1/rerank", body).body["results"]
    for n in (0, 1, 2, 3, 99):
        assert ranker.post("/v1/rerank", {**body, "top_n": n}).body["results"] == whole[:n]
    for row in ranker.post("/v1/rerank", {**body, "return_documents": True}).body["results"]:
        assert row["document"] == {"text": CATS[row["index"]]}


def test_ranks_are_not_vectors(ranker: Server, server: Server, stories: Server) -> None:
    assert "Pooling type 'rank'" in assert_error(ranker.post("/v1/embeddings", {"input": "the"}))["message"]
    assert len(ranker.post("/embedding", {"content": "the cat"}).body[0]["embedding"][0]) == 1
    for one in (server, stories):
        for path in RERANK_PATHS:
            error = assert_error(one.post(path, {"query": "a", "documents": CATS}), 501)
            assert error["message"] == "This server does not support reranking. Start it with `--reranking`"


def test_rerank_needs_a_head() -> None:
    server = Server("-m", str(CLS), "--rerank")
    assert server.process.wait(timeout=30) == 1
    assert "pooling: rank needs a model with a classification head" in server.output()
    server.client.close()
    server.log.close()


@pytest.mark.skipif(not MINILM.exists(), reason="`make models` fetches MiniLM")
def test_the_openai_client() -> None:
    for server in running("-m", str(MINILM), "--embedding"):
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        texts = [
            "A cat sits on the mat.",
            "There is a kitten on the rug.",
            "The stock market fell sharply today.",
        ]
        found = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
        near, far = (cosine(found.data[0].embedding, found.data[other].embedding) for other in (1, 2))
        assert near > 0.5 > far
        # Without a format the client asks for base64.
        decoded = client.embeddings.create(model="minilm", input=texts)
        assert [entry.embedding for entry in decoded.data] == [entry.embedding for entry in found.data]
        assert found.usage.prompt_tokens == found.usage.total_tokens
        short = client.embeddings.create(model="minilm", input=texts[0], dimensions=100, encoding_format="float")
        assert len(short.data[0].embedding) == 100
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="minilm", input="word " * 600)
        assert refused.value.body["n_prompt_tokens"] == 602  # type: ignore[index,call-overload]
        assert refused.value.body["n_ctx"] == 512  # type: ignore[index,call-overload]


# Refusals.


def good(server: Server) -> Any:
    return server.post("/v1/embeddings", {"input": "the cat"}).body["data"]


@BUDGET
@given(case=EMBEDDING_WRONG, path=st.sampled_from(["/v1/embeddings", "/embedding", "/embeddings"]))
def test_wrong_types_are_named(server: Server, case: tuple[str, Any], path: str) -> None:
    name, value = case
    if path != "/v1/embeddings" and name in ("encoding_format", "dimensions", "user", "model"):
        return
    before = good(server)
    started = time.monotonic()
    error = assert_error(server.post(path, {"input": "the cat", name: value}))
    assert time.monotonic() - started < 1
    assert error["param"].startswith(name)
    assert good(server) == before


@BUDGET
@given(case=EMBEDDING_OUT_OF_RANGE)
def test_values_out_of_range_are_named(server: Server, case: tuple[str, Any]) -> None:
    name, value = case
    before = good(server)
    started = time.monotonic()
    error = assert_error(server.post("/v1/embeddings", {"input": "the cat", name: value}))
    assert time.monotonic() - started < 1
    assert error["param"].startswith(name)
    assert good(server) == before


@BUDGET
@given(case=RERANK_WRONG, path=st.sampled_from(RERANK_PATHS))
def test_wrong_rankings_are_named(ranker: Server, case: tuple[str, Any], path: str) -> None:
    name, value = case
    body = {"query": "what", "documents": CATS}
    if name == "texts":
        del body["documents"]
    before = ranker.post("/rerank", {"query": "what", "documents": CATS}).body
    started = time.monotonic()
    error = assert_error(ranker.post(path, {**body, name: value}))
    assert time.monotonic() - started < 1
    assert error["param"].startswith(name)
    assert ranker.post("/rerank", {"query": "what", "documents": CATS}).body == before


@BUDGET
@given(value=JSON, path=st.sampled_from(["/v1/embeddings", "/embedding", "/embeddings"]))
def test_random_inputs(server: Server, value: Any, path: str) -> None:
    answer = server.post(path, {"input": value})
    if answer.status != 200:
        assert_error(answer)


@BUDGET
@given(query=JSON, documents=JSON, top_n=JSON, path=st.sampled_from(RERANK_PATHS))
def test_random_rankings(ranker: Server, query: Any, documents: Any, top_n: Any, path: str) -> None:
    answer = ranker.post(path, {"query": query, "documents": documents, "top_n": top_n})
    if answer.status != 200:
        assert_error(answer)


@BUDGET
@given(data=st.binary(max_size=200), path=st.sampled_from(["/v1/embeddings", "/embedding", *RERANK_PATHS]))
def test_random_bytes(server: Server, data: bytes, path: str) -> None:
    answer = server.post(path, content=data)
    assert_error(answer)


def test_missing_inputs_are_named(server: Server, ranker: Server) -> None:
    assert_error(server.post("/v1/embeddings", {}), param="input")
    assert '"input" or "content"' in assert_error(server.post("/embedding", {}), param="content")["message"]
    assert_error(ranker.post("/rerank", {"documents": CATS}), param="query")
    assert_error(ranker.post("/rerank", {"query": "what"}), param="documents")
    assert_error(ranker.post("/rerank", {"query": "what", "documents": []}), param="documents")
    assert_error(ranker.post("/rerank", {"query": "what", "texts": []}), param="texts")


def test_lengths_are_refused_with_both_counts(server: Server, ranker: Server) -> None:
    error = assert_error(server.post("/v1/embeddings", {"input": ["a", "the " * 250]}), param="input[1]")
    assert error["message"] == "input[1]: it has 252 tokens, which are computed at once; allowed: up to 200 (-b)"
    error = assert_error(server.post("/embedding", {"content": "the " * 400}), param="content")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (402, 320)
    assert error["type"] == "exceed_context_size_error"
    error = assert_error(ranker.post("/rerank", {"query": "a", "texts": ["a", "the " * 400]}), param="texts")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (404, 320)


@pytest.fixture
def narrow() -> Iterator[Server]:
    yield from running("-m", str(CLS), "--max-queue", "4")


def test_a_full_queue_and_a_client_that_leaves(narrow: Server) -> None:
    """One request fills the queue; when its client leaves, the next is served at once."""
    gave_up = []

    def ask_for_much() -> None:
        try:
            narrow.client.post("/v1/embeddings", json={"input": ["the " * 300] * 2000}, timeout=1.5)
        except httpx.ReadTimeout:
            gave_up.append(True)

    thread = threading.Thread(target=ask_for_much)
    thread.start()
    seen = set()
    while thread.is_alive():
        answer = narrow.post("/v1/embeddings", {"input": "the cat"})
        seen.add(answer.status)
        if answer.status == 429:
            assert answer.headers["retry-after"]
            assert_error(answer, 429)
    thread.join()
    assert gave_up
    assert 429 in seen
    started = time.monotonic()
    while narrow.post("/v1/embeddings", {"input": "the cat"}).status != 200:
        assert time.monotonic() - started < 2, "the abandoned request goes on"
