"""Several questions at once on an event loop, and a stream that is left early: `python examples/async_chat.py`."""

import asyncio
import sys

from rustllm import AsyncLLM, SamplingParams

QUESTIONS = ["Name a colour.", "Name an animal.", "Name a city."]


async def main(model: str | None = None) -> None:
    params = SamplingParams(max_tokens=24, temperature=0)
    async with await AsyncLLM.load(model) as llm:
        chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
        replies = await asyncio.gather(*(llm.chat(chat, params) for chat in chats))
        for question, reply in zip(QUESTIONS, replies, strict=True):
            print(f"> {question}\n{reply.text}")

        # Leaving the block ends the answer; the model computes no more of it.
        async with llm.generate("Once upon a time", SamplingParams(seed=1), stream=True) as stream:
            text = ""
            async for delta in stream:
                text += delta.text
                if len(text) > 80:
                    break
        print(text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
