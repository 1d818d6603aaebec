"""LoRA adapters in the engine: each request with its own, in one batch, and never on another's cache."""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rustllm._rustllm import Engine, InvalidRequestError, ModelError, SamplingParams
from tests.support.adapter_file import write_adapter
from tests.support.embeddings import embed
from tests.support.model_file import STORY

PROMPT = "Once upon a time there was a little dog that lived in a small house near the forest, and"

Lora = Sequence[tuple[int, float]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("adapters")
    return [
        write_adapter(directory / "first.gguf", seed=1),
        write_adapter(directory / "second.gguf", seed=2, rank=9, parts=("attn_q", "attn_v", "ffn_down")),
    ]


@pytest.fixture
def engine(files: list[Path]) -> Iterator[Engine]:
    engine = Engine.load(STORY, n_ctx=8 * 256, n_parallel=8, lora=files)
    yield engine
    engine.shutdown()


def answers(engine: Engine, loras: Sequence[Lora], prompt: str = PROMPT) -> list[tuple[str, int]]:
    """Texts and cached prompt tokens of requests that run at the same time."""
    tokens = engine.tokenizer.encode(prompt)
    params = [SamplingParams(n_predict=40, temperature=0, lora=lora) for lora in loras]
    ids = [engine.submit(tokens, one) for one in params]
    texts, cached = dict.fromkeys(ids, ""), dict.fromkeys(ids, 0)
    running = set(ids)
    while running:
        select.select([engine.fileno()], [], [], 60)
        for output in engine.drain():
            assert output.error is None
            texts[output.request_id] += output.text
            if output.kind == "done":
                assert output.timings is not None
                cached[output.request_id] = output.timings.cache_n
                running.discard(output.request_id)
    return [(texts[id_], cached[id_]) for id_ in ids]


MIXES: list[Lora] = [[], [(0, 1.0)], [(0, 0.5)], [(1, 1.0)], [(0, 1.0), (1, 1.0)], [(0, -1.0)]]


def test_requests_with_different_adapters_share_a_batch(engine: Engine) -> None:
    alone = [answers(engine, [mix])[0][0] for mix in MIXES]
    assert len(set(alone)) == len(MIXES), "each configuration tells another story"
    together = [text for text, _ in answers(engine, MIXES)]
    assert together == alone
    before = engine.stats()
    answers(engine, MIXES)
    steps = engine.stats()["steps"] - before["steps"]
    assert engine.stats()["step_slots"] - before["step_slots"] > 3 * steps, "they did run side by side"


def test_adapters_that_are_off_change_nothing(engine: Engine) -> None:
    plain = Engine.load(STORY, n_ctx=512)
    try:
        want = answers(plain, [[]])[0][0]
    finally:
        plain.shutdown()
    assert {text for text, _ in answers(engine, [[], [(0, 0.0)], [(1, 0.0), (0, -0.0)]])} == {want}


def test_a_cached_text_serves_its_own_adapters_only(engine: Engine) -> None:
    n = len(engine.tokenizer.encode(PROMPT))
    first: dict[int, str] = {}
    for index, mix in enumerate(MIXES):
        (text, cached) = answers(engine, [mix])[0]
        assert cached == 0, mix
        first[index] = text
    for index, mix in enumerate(MIXES):
        assert answers(engine, [mix]) == [(first[index], n - 1)], mix
    # The same in other words.
    same = [[(1, 0.0), (0, 1.0)], [(0, 7.0), (0, 1.0)]]
    assert [answers(engine, [mix])[0] for mix in same] == [(first[1], n - 1)] * 2


def test_embeddings_have_adapters(engine: Engine) -> None:
    tokens = [engine.tokenizer.encode(PROMPT)]

    def vector(lora: Lora) -> list[bytes]:
        return embed(engine, tokens, lora=lora)[0]

    plain, adapted = vector([]), vector([(0, 1.0)])
    assert plain != adapted
    assert vector([(0, 1.0)]) == adapted
    assert vector([(0, 0.0)]) == plain


@pytest.mark.parametrize(
    ("lora", "param"),
    [
        ([(2, 1.0)], "lora[0].id"),
        ([(0, 1.0), (-1, 1.0)], "lora[1].id"),
        ([(2**40, 1.0)], "lora[0].id"),
        ([(0, float("nan"))], "lora[0].scale"),
        ([(0, 1.0), (1, float("inf"))], "lora[1].scale"),
        ([(0, 1e300)], "lora[0].scale"),
        ([(0, 0.0)] * 1000, "lora"),
    ],
)
def test_wrong_adapters_are_refused_by_place(engine: Engine, lora: Lora, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        engine.submit([1, 2], SamplingParams(lora=lora))
    assert caught.value.param == param
    assert "allowed" in str(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        engine.embed([[1, 2]], normalize=2, lora=lora)
    assert caught.value.param == param


@pytest.mark.parametrize("value", [5, "x", [5], [(0,)], [("a", 1.0)], [(True, "x")]])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SamplingParams(lora=value)  # type: ignore[arg-type]
    assert caught.value.param == "lora"


def test_files_that_do_not_fit_name_file_and_tensor(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(ModelError, match=r"general\.type: .*expected: \"adapter\"|general\.type: the key is missing"):
        Engine.load(STORY, lora=[STORY])
    wide = tmp_path / "wide.gguf"
    data = files[0].read_bytes()
    at = data.index(b"blk.0.attn_q.weight.lora_a") + len("blk.0.attn_q.weight.lora_a") + 4
    wide.write_bytes(data[:at] + (32).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(
        ModelError, match=r"wide\.gguf: blk\.0\.attn_q\.weight\.lora_a: .*\[64, RANK\] and \[RANK, 64\]"
    ):
        Engine.load(STORY, lora=[*files, wide])
    with pytest.raises(OSError, match=r"nowhere\.gguf"):
        Engine.load(STORY, lora=[tmp_path / "nowhere.gguf"])


def test_what_files_say_of_themselves(tmp_path: Path) -> None:
    keys = {"adapter.lora.task_name": "stories", "adapter.lora.prompt_prefix": "Tell: "}
    file = write_adapter(tmp_path / "named.gguf", seed=1, parts=("attn_q",), **keys)
    engine = Engine.load(STORY, lora=[file])
    try:
        (adapter,) = engine.adapters
    finally:
        engine.shutdown()
    assert {name: str(value) for name, value in adapter.items()} == {
        "path": str(file),
        "task_name": "stories",
        "prompt_prefix": "Tell: ",
    }
