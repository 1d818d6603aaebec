"""Prompts, batches and streams."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rustllm import LLM, Completion, ContextExceededError, InvalidRequestError, SamplingParams
from rustllm._rustllm import SamplingParams as NativeParams
from tests.support.adapter_file import write_adapter

GREEDY = SamplingParams(max_tokens=12, temperature=0)


def test_batch_answers_each_prompt_as_alone_and_in_order(llm: LLM) -> None:
    prompts = [
        f"Once upon a time there was a {word}"
        for word in ["cat", "dog", "boy", "girl", "bird", "fish", "tree", "car", "hat"]
    ]
    together = llm.generate(prompts, GREEDY, use_tqdm=False)
    assert [out.prompt for out in together] == prompts
    assert [out.text for out in together] == [llm.generate(prompt, GREEDY)[0].text for prompt in prompts]
    assert len({out.text for out in together}) > 1


def test_token_ids_are_a_prompt(llm: LLM) -> None:
    tokens = llm.tokenize("The cat")
    [out] = llm.generate(tokens, GREEDY)
    assert (out.prompt, out.prompt_token_ids) == (None, tokens)
    assert out.text == llm.generate("The cat", GREEDY)[0].text
    assert len(llm.generate([tokens, "The cat"], GREEDY, use_tqdm=False)) == 2


def test_no_prompts_have_no_answers(llm: LLM) -> None:
    assert llm.generate([]) == []


def test_parameters_for_each_prompt(llm: LLM) -> None:
    outs = llm.generate(["The", "The"], [SamplingParams(max_tokens=2), SamplingParams(max_tokens=5)], use_tqdm=False)
    assert [len(out.token_ids) for out in outs] == [2, 5]
    with pytest.raises(ValueError, match="sampling_params: there are 1 for 2 prompts"):
        llm.generate(["The", "The"], [GREEDY])


def test_choices_and_seeds(llm: LLM) -> None:
    params = SamplingParams(max_tokens=8, n=3, seed=7, temperature=1.5)
    [out] = llm.generate("The", params)
    assert [one.index for one in out.outputs] == [0, 1, 2]
    assert [one.text for one in out.outputs] == [one.text for one in llm.generate("The", params)[0].outputs]
    assert out.outputs[1].text == llm.generate("The", params.replace(n=1, seed=8))[0].text


def test_stop_and_logprobs(llm: LLM) -> None:
    [out] = llm.generate("Once upon a time", SamplingParams(max_tokens=40, temperature=0, stop=".", logprobs=2))
    assert out.finish_reason == "stop"
    assert out.outputs[0].stop_reason == "."
    assert "." not in out.text
    assert out.logprobs is not None
    assert [one.token_id for one in out.logprobs] == out.token_ids
    # The stop text's own token is there, though its text is not.
    assert "".join(one.text for one in out.logprobs) == out.text + "."
    assert all(len(one.top) == 2 and one.top[0].logprob >= one.logprob for one in out.logprobs)
    [bare] = llm.generate("Once", SamplingParams(max_tokens=2, logprobs=0))
    assert bare.logprobs is not None
    assert [one.top for one in bare.logprobs] == [(), ()]


def test_prompt_logprobs(llm: LLM) -> None:
    [out] = llm.generate("Once upon", SamplingParams(max_tokens=1, prompt_logprobs=1))
    assert out.prompt_logprobs is not None
    assert out.prompt_logprobs[0] is None
    assert [one.token_id for one in out.prompt_logprobs if one] == out.prompt_token_ids[1:]


@pytest.mark.parametrize(
    ("given", "check"),
    [
        ({"choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"regex": "[0-9]{3}"}, lambda text: len(text) == 3 and text.isdigit()),
        ({"grammar": 'root ::= "ab" "c"'}, lambda text: text == "abc"),
        ({"json_schema": {"const": 5}}, lambda text: text.strip() == "5"),
    ],
)
def test_constraints(llm: LLM, given: dict[str, Any], check: Any) -> None:
    [out] = llm.generate("Answer:", SamplingParams(max_tokens=20, **given))
    assert check(out.text), out.text


def test_stream_is_the_answer_in_parts(llm: LLM) -> None:
    deltas = list(llm.generate(["Once upon a time", "The cat"], GREEDY, stream=True))
    for number, whole in enumerate(llm.generate(["Once upon a time", "The cat"], GREEDY, use_tqdm=False)):
        own = [delta for delta in deltas if delta.request == number]
        assert "".join(delta.text for delta in own) == whole.text
        assert [token for delta in own for token in delta.token_ids] == whole.token_ids
        assert [delta.finish_reason for delta in own][-1] == "length"
        assert all(delta.finish_reason is None for delta in own[:-1])
        usage = own[-1].usage
        assert usage is not None
        assert usage.completion_tokens == whole.usage.completion_tokens
        assert all(delta.usage is None for delta in own[:-1])


def test_closing_a_stream_frees_its_sequence(llm: LLM) -> None:
    stream = llm.generate("Once", SamplingParams(ignore_eos=True), stream=True)
    next(stream)
    assert llm._loaded.dispatcher.active == 1
    stream.close()
    assert list(stream) == []
    assert llm._loaded.dispatcher.active == 0
    dropped = llm.generate("Once", SamplingParams(ignore_eos=True), stream=True)
    next(dropped)
    del dropped
    assert llm._loaded.dispatcher.active == 0


@pytest.mark.parametrize(
    ("field", "value", "engine"),
    [
        ("temperature", float("nan"), "temperature"),
        ("max_tokens", -2, "n_predict"),
        ("n", 0, "n"),
        ("logprobs", -1, "n_probs"),
        ("min_tokens", -1, "min_tokens"),
        ("top_k", 1.5, "top_k"),
        ("stop", [1], "stop"),
    ],
)
def test_validation_has_the_engines_words(field: str, value: Any, engine: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        SamplingParams(**{field: value})
    with pytest.raises(InvalidRequestError) as native:
        NativeParams(**{engine: value})
    assert str(refused.value) == str(native.value).replace(engine, field, 1)
    assert refused.value.param == field


def test_defaults_are_the_engines() -> None:
    ours = SamplingParams().native(None).as_dict()  # type: ignore[arg-type]  # no bias needs the vocabulary
    assert ours == NativeParams().as_dict()
    known = {name for name in NativeParams().as_dict()}
    own = {"max_tokens", "logprobs", "repetition_penalty", "grammar", "json_schema", "regex", "choice"}
    assert {one.name for one in fields(SamplingParams)} - own <= known


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["fine", [600]], r"prompts\[1\]: prompt: 600 is not a token id; allowed: 0 to 511"),
        (["fine", []], r"prompts\[1\]: prompt: it is empty"),
        (["fine", 5.0], r"prompts\[1\]: prompt: 5.0 is not a prompt"),
        (None, "prompts: None is not a prompt"),
        ([True], r"prompt: True is not a token id"),
    ],
)
def test_bad_prompts_are_named(llm: LLM, prompts: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        llm.generate(prompts, GREEDY)
    assert llm._loaded.dispatcher.active == 0


def test_one_long_prompt_ends_the_batch_and_is_named(llm: LLM) -> None:
    with pytest.raises(ContextExceededError, match=r"prompts\[1\]: .*the prompt has 600 tokens, the context 512"):
        llm.generate(["Once", [1] * 600], SamplingParams(ignore_eos=True))
    assert llm._loaded.dispatcher.active == 0


def test_logit_bias_takes_texts_and_ids(llm: LLM) -> None:
    forbidden = llm.generate("Once upon a time", GREEDY)[0].token_ids[0]
    [out] = llm.generate("Once upon a time", GREEDY.replace(logit_bias={forbidden: False}))
    assert out.token_ids[0] != forbidden
    with pytest.raises(InvalidRequestError, match="logit_bias: 512 is not a token"):
        llm.generate("Once", SamplingParams(logit_bias={512: 1.0}))


def test_adapters_apply_with_their_weights(llm: LLM, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter.gguf", seed=1)
    with LLM(lora=[adapter]) as adapted, LLM(lora=[(adapter, 0.0)]) as without:
        plain = llm.generate("Once upon a time", GREEDY)[0].text
        assert without.generate("Once upon a time", GREEDY)[0].text == plain
        assert adapted.generate("Once upon a time", GREEDY)[0].text != plain
        assert adapted.embed("Once")[0].vector != without.embed("Once")[0].vector


def test_results_show_themselves(llm: LLM) -> None:
    [out] = llm.generate("<b>Once</b>", SamplingParams(max_tokens=3, temperature=0))
    assert repr(out).startswith("Completion(prompt='<b>Once</b>', text=")
    assert isinstance(out, Completion)
    assert "&lt;b&gt;" in out._repr_html_()
    assert "<b>" not in out._repr_html_()
    assert str(out) == out.text


def test_a_batch_has_a_bar(llm: LLM, capsys: pytest.CaptureFixture[str]) -> None:
    llm.generate(["a", "b", "c"], GREEDY)
    assert "3/3" in capsys.readouterr().err
    llm.generate(["a", "b", "c"], GREEDY, use_tqdm=False)
    assert capsys.readouterr().err == ""
