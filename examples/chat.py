"""A chat whose answers are shown while they are written: `python examples/chat.py [MODEL.gguf]`."""

import sys

from rustllm import LLM, SamplingParams

QUESTIONS = ["Why is the sky blue?", "And at sunset?"]


def main(model: str | None = None) -> None:
    params = SamplingParams(max_tokens=48, temperature=0.7, seed=1)
    with LLM(model) as llm:
        messages: list[dict[str, str]] = []
        for question in QUESTIONS:
            print(f"> {question}")
            messages.append({"role": "user", "content": question})
            answer = ""
            for delta in llm.chat(messages, params, stream=True):
                print(delta.text, end="", flush=True)
                answer += delta.text
            print()
            messages.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main(*sys.argv[1:2])
