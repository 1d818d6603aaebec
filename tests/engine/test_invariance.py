"""Greedy and seeded answers are the same alone, in a batch, with a cached prompt and in any chunks."""

from __future__ import annotations

import select
from collections.abc import Sequence
from pathlib import Path

import pytest

from rustllm._rustllm import Engine, SamplingParams
from rustllm.perplexity import perplexity
from tests.support.server import ROOT

STORIES = ROOT / "python/rustllm/models/stories260K.gguf"
SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
GPL = Path("/usr/share/common-licenses/GPL-3")

needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason="`make models` fetches SmolLM2")


def answers(engine: Engine, prompts: Sequence[str], params: SamplingParams) -> list[str]:
    """The texts of requests that run at the same time."""
    ids = [engine.submit(engine.tokenizer.encode(prompt), params) for prompt in prompts]
    texts = dict.fromkeys(ids, "")
    running = set(ids)
    while running:
        select.select([engine.fileno()], [], [], 60)
        for output in engine.drain():
            assert output.error is None
            texts[output.request_id] += output.text
            if output.kind == "done":
                running.discard(output.request_id)
    return [texts[id_] for id_ in ids]


def check(model: Path, n_predict: int) -> None:
    text = "Once upon a time there was a little dog that lived in a small house near the forest, and"
    others = [text[: 20 + 8 * index] for index in range(7)]
    for params in (
        SamplingParams(n_predict=n_predict, temperature=0),
        SamplingParams(n_predict=n_predict, temperature=1.0, seed=11),
    ):
        seen = set()
        for n_batch in (512, 32, 1):
            engine = Engine.load(model, n_ctx=8 * 256, n_parallel=8, n_batch=n_batch)
            seen.update(answers(engine, [text], params))
            seen.update(answers(engine, [text], params))  # its prompt is cached now
            seen.add(answers(engine, [*others[:3], text, *others[3:]], params)[3])
            engine.shutdown()
        assert len(seen) == 1


def test_f32() -> None:
    check(STORIES, 64)


@needs_smollm2
def test_quantized() -> None:
    check(SMOLLM2, 16)


def test_logits_are_the_models() -> None:
    engine = Engine.load(STORIES, n_ctx=256)
    tokens = engine.tokenizer.encode("Once upon a time")
    logits = engine.logits(tokens)
    assert len(logits) == 512
    best = max(range(512), key=logits.__getitem__)
    assert engine.tokenizer.decode([best]) == ","
    (score,) = engine.score([*tokens, best], len(tokens))
    assert -0.5 < score < 0


@needs_smollm2
@pytest.mark.skipif(not GPL.exists(), reason="the text of the recorded perplexity is Debian's common-licenses/GPL-3")
def test_perplexity_is_between_the_exact_one_and_the_peers() -> None:
    result = perplexity(str(SMOLLM2), GPL.read_text(encoding="utf-8"), n_ctx=512)
    assert result.n_chunks == 14
    # Exact arithmetic on the same weights gives 18.30, llama.cpp 18.39.
    assert 0.995 * 18.30 < result.value < 1.005 * 18.39


@needs_smollm2
@pytest.mark.skipif(not GPL.exists(), reason="the text is Debian's common-licenses/GPL-3")
def test_perplexity_hardly_depends_on_the_type_of_the_cache() -> None:
    text = GPL.read_text(encoding="utf-8")[:9000]
    found = [
        perplexity(str(SMOLLM2), text, n_ctx=512, cache_type_k=kind, cache_type_v=kind).value
        for kind in ("f32", "f16", "q8_0")
    ]
    assert len(set(found)) == 3
    assert found == pytest.approx([found[0]] * 3, rel=0.01)
