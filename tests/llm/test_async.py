"""`AsyncLLM`: tasks that wait together, streams that are closed, tasks that are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from rustllm import LLM, AsyncLLM, EngineClosedError, InvalidRequestError, SamplingParams

GREEDY = SamplingParams(max_tokens=12, temperature=0)
ENDLESS = SamplingParams(ignore_eos=True)
HI = [{"role": "user", "content": "Hi"}]


class One(BaseModel):
    n: int


def test_the_same_as_llm(llm: LLM) -> None:
    async def main() -> None:
        shared = AsyncLLM(llm)
        outs = await shared.generate(["Once", "The"], GREEDY)
        assert [out.text for out in outs] == [out.text for out in llm.generate(["Once", "The"], GREEDY, use_tqdm=False)]
        assert (await shared.chat(HI, GREEDY)).text == llm.chat(HI, GREEDY).text
        assert len(await shared.chat([HI, HI], GREEDY)) == 2
        assert (await shared.embed("Once"))[0].vector == llm.embed("Once")[0].vector
        assert (await shared.score("Once upon"))[0].logprobs == llm.score("Once upon")[0].logprobs
        schema: dict[str, Any] = {"enum": [{"n": 1}]}
        assert (await shared.chat(HI, SamplingParams(max_tokens=40), response_format=schema)).parsed == {"n": 1}
        parts = [delta async for delta in shared.chat(HI, GREEDY, stream=True)]
        assert "".join(delta.text for delta in parts) == llm.chat(HI, GREEDY).text
        assert parts[-1].finish_reason == "length"

    # Two loops, one after the other.
    asyncio.run(main())
    asyncio.run(main())


def test_tasks_run_together(llm: LLM) -> None:
    async def main() -> None:
        shared = AsyncLLM(llm)
        prompts = [f"The {word}" for word in ("cat", "dog", "boy", "girl")]
        found = await asyncio.gather(*(shared.generate(prompt, GREEDY) for prompt in prompts))
        assert [one[0].prompt for one in found] == prompts
        assert [one[0].text for one in found] == [out.text for out in llm.generate(prompts, GREEDY, use_tqdm=False)]

    asyncio.run(main())


def test_closing_a_stream_aborts(llm: LLM) -> None:
    async def main() -> None:
        shared = AsyncLLM(llm)
        stream = shared.generate("Once", ENDLESS, stream=True)
        await anext(stream)
        assert llm._loaded.dispatcher.active == 1
        await stream.aclose()
        assert llm._loaded.dispatcher.active == 0
        assert [delta async for delta in stream] == []
        async with await shared.generate("Once", ENDLESS, stream=True) as stream:
            async for _ in stream:
                break
        assert llm._loaded.dispatcher.active == 0

    asyncio.run(main())


def test_cancelling_aborts(llm: LLM) -> None:
    async def main() -> None:
        shared = AsyncLLM(llm)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(shared.generate(["Once"] * 20, ENDLESS.replace(max_tokens=400)), 0.02)
        assert llm._loaded.dispatcher.active == 0

    asyncio.run(main())


def test_errors_come_where_they_are_awaited(llm: LLM) -> None:
    async def main() -> None:
        shared = AsyncLLM(llm)
        with pytest.raises(InvalidRequestError, match="600 is not a token id"):
            await shared.generate([600])
        with pytest.raises(InvalidRequestError, match="600 is not a token id"):
            await anext(shared.generate([600], stream=True))
        with pytest.raises(TypeError, match="n_ctx: settings are those of the LLM"):
            AsyncLLM(llm, n_ctx=5)

    asyncio.run(main())


def test_leaving_closes() -> None:
    async def main() -> None:
        async with await AsyncLLM.load(n_ctx=64) as llm:
            assert repr(llm) == "AsyncLLM('stories260K.gguf', n_ctx=64, n_parallel=32)"
        with pytest.raises(EngineClosedError):
            await llm.generate("Once")

    asyncio.run(main())
