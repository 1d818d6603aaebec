"""Vectors and log probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rustllm import LLM, Embedding, InvalidRequestError, SamplingParams, UnsupportedError
from tests.support.embeddings import RANK


def test_vectors_are_normalized_and_in_order(minilm: LLM) -> None:
    texts = ["A cat sits on a mat.", "The stock market fell.", "A kitten rests on a rug."] * 3
    found = minilm.embed(texts, use_tqdm=False)
    assert np.array(found[0]).shape == (384,)
    assert math.isclose(math.hypot(*found[0]), 1.0, abs_tol=1e-5)
    assert found[0].similarity(found[2]) > found[0].similarity(found[1]) + 0.3
    assert np.allclose(found[3], minilm.embed(texts[0])[0])
    assert found[0].n_tokens == len(minilm.tokenize(texts[0]))


def test_options_of_vectors(minilm: LLM) -> None:
    [raw] = minilm.embed("A cat.", normalize=-1)
    [short] = minilm.embed("A cat.", dimensions=8)
    assert not math.isclose(math.hypot(*raw), 1.0, abs_tol=1e-2)
    assert len(short) == 8
    with pytest.raises(InvalidRequestError, match="dimensions: 999 is out of range"):
        minilm.embed("A cat.", dimensions=999)
    with pytest.raises(InvalidRequestError, match=r"prompt|texts"):
        minilm.embed(["fine", [99999999]])
    assert minilm.embed([]) == []


def test_similarity_needs_equal_sizes() -> None:
    with pytest.raises(ValueError, match="it has 1 values; this one has 2"):
        Embedding([1.0, 2.0], 1).similarity(Embedding([1.0], 1))
    assert repr(Embedding([0.5] * 4, 2)) == "Embedding([0.5000, 0.5000, 0.5000, …], size=4, n_tokens=2)"


def test_pooling_none_is_refused() -> None:
    with LLM(pooling="none") as llm, pytest.raises(UnsupportedError, match="pooling='mean'"):
        llm.embed("Once")


def test_rerank() -> None:
    documents = ["the cat sat", "a dog", "cats and dogs and birds"]
    with LLM(RANK) as llm:
        found = llm.rerank("a cat", documents, use_tqdm=False)
        assert sorted(one.index for one in found) == [0, 1, 2]
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert all(one.document == documents[one.index] for one in found)
        assert llm.rerank("a cat", documents, top_n=1, use_tqdm=False) == found[:1]
        # Each score is that of its own pair.
        assert llm.rerank("a cat", documents[2:])[0].score == next(one.score for one in found if one.index == 2)
        assert llm.rerank("a cat", []) == []
        with pytest.raises(InvalidRequestError, match="top_n: -1 is out of range; allowed: 0 or above"):
            llm.rerank("a cat", documents, top_n=-1)
        with pytest.raises(UnsupportedError, match="use rerank"):
            llm.embed("a cat")


def test_scores_are_those_of_the_answers(llm: LLM) -> None:
    [out] = llm.generate("Once upon a time", SamplingParams(max_tokens=8, temperature=0, logprobs=0))
    assert out.logprobs is not None
    [score] = llm.score([out.token_ids], [out.prompt_token_ids])
    assert score.token_ids == out.token_ids
    assert score.logprobs == pytest.approx([one.logprob for one in out.logprobs], abs=1e-4)
    assert score.total == pytest.approx(sum(score.logprobs))


def test_scores_of_texts(llm: LLM) -> None:
    plain, odd = llm.score(["Once upon a time", "time a upon Once"], use_tqdm=False)
    assert len(plain.logprobs) == len(llm.tokenize("Once upon a time")) - 1
    assert plain.perplexity < odd.perplexity
    assert "title=" in plain._repr_html_()
    # Behind a prompt only the text's own tokens count.
    [whole] = llm.score("Once upon a time")
    [end] = llm.score(" time", "Once upon a")
    assert end.logprobs == pytest.approx(whole.logprobs[-len(end.logprobs) :], abs=1e-4)
    assert len(end.logprobs) < len(whole.logprobs)


@pytest.mark.parametrize("texts", [5, [None]])
def test_bad_texts(llm: LLM, texts: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not a prompt"):
        llm.score(texts)


def test_score_counts(llm: LLM) -> None:
    with pytest.raises(ValueError, match="prompts: there are 2 for 3 texts"):
        llm.score(["a", "b", "c"], ["a", "b"])
