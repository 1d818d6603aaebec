"""Answers that are pydantic models, whatever the model: `python examples/structured.py [MODEL.gguf]`."""

import sys
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from rustllm import LLM, SamplingParams

REVIEWS = ["The soup was cold and the waiter rude.", "Lovely place, we will come again!"]


class Verdict(BaseModel):
    """What a review says."""

    mood: Literal["good", "bad"]
    stars: Annotated[int, Field(ge=1, le=5)]


def main(model: str | None = None) -> None:
    with LLM(model) as llm:
        chats = [[{"role": "user", "content": f"Judge this review: {review}"}] for review in REVIEWS]
        replies = llm.chat(chats, SamplingParams(max_tokens=64, temperature=0), response_format=Verdict)
        for review, reply in zip(REVIEWS, replies, strict=True):
            assert reply.parsed is not None
            print(f"{reply.parsed.mood}, {reply.parsed.stars} stars: {review}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
