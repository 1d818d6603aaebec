"""Many prompts at once, their rate, and how sure the model is of each: `python examples/batch.py [MODEL.gguf]`."""

import sys
import time

from rustllm import LLM, SamplingParams

ANIMALS = ["cat", "dog", "bird", "fish", "horse", "frog", "mouse", "bear"]


def main(model: str | None = None) -> None:
    prompts = [f"Once upon a time there was a little {animal} who" for animal in ANIMALS for _ in range(4)]
    params = SamplingParams(max_tokens=32, temperature=0.8, seed=1)
    with LLM(model) as llm:
        began = time.perf_counter()
        outs = llm.generate(prompts, params)
        seconds = time.perf_counter() - began
        tokens = sum(out.usage.completion_tokens for out in outs)
        print(f"{tokens} tokens in {seconds:.2f} s: {tokens / seconds:.0f} a second")
        scores = llm.score([out.text for out in outs[::4]], prompts[::4], use_tqdm=False)
        for out, score in zip(outs[::4], scores, strict=True):
            print(f"perplexity {score.perplexity:6.2f}: {out.text[:60]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
