"""`LLM.generate` beside the engine's own rate, and beside llama-cpp-python's loop where that is installed.

`python -m benches.batch -m MODEL.gguf` measures in turns: the rate of `rustllm bench` at the batch's size, then 256
prompts through `LLM.generate`, then some of them one after the other through llama-cpp-python.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from rustllm import LLM, SamplingParams
from rustllm.bench.load import WORDS
from rustllm.bench.rows import BLOCK

PROMPTS = 256
#: Batches before the first that counts.
WARM_UPS = 4
#: llama-cpp-python's loop is the same for each prompt.
PEER_PROMPTS = 24


def prompts(n: int) -> list[str]:
    """Short prompts that differ from their first word on."""
    return [f"{WORDS[index % len(WORDS)]} {WORDS[index // 7 % len(WORDS)]} and the" for index in range(n)]


def expected(llm: LLM, n_parallel: int, n_prompt: float, n_gen: int) -> float:
    """Tokens a second that the engine's own passes would give: the prompts prefilled, then `n_parallel` rows
    decoded at a time."""
    native = llm._loaded.native
    decode = min(native.bench("decode", n_gen, n_seq=n_parallel, depth=BLOCK, repeats=1)["seconds"])
    prefill = min(native.bench("prefill", 512, repeats=1)["seconds"]) / 512
    rounds = PROMPTS / n_parallel
    return PROMPTS * n_gen / (rounds * decode + PROMPTS * n_prompt * prefill)


def decode_rate(llm: LLM, n_parallel: int, n_gen: int) -> float:
    """Tokens a second of `rustllm bench -b n_parallel`."""
    run = llm._loaded.native.bench("decode", n_gen, n_seq=n_parallel, repeats=1)
    return n_parallel * n_gen / min(run["seconds"])


def generate_rate(llm: LLM, n_gen: int) -> tuple[float, float]:
    """Tokens a second of `LLM.generate`, and tokens of a prompt."""
    params = SamplingParams(max_tokens=n_gen, temperature=0, ignore_eos=True)
    began = time.perf_counter()
    outs = llm.generate(prompts(PROMPTS), params, use_tqdm=False)
    seconds = time.perf_counter() - began
    n_prompt = statistics.fmean(out.usage.prompt_tokens for out in outs)
    return sum(out.usage.completion_tokens for out in outs) / seconds, n_prompt


def peer_rate(model: Path, n_gen: int, threads: int) -> float | None:
    """Tokens a second of llama-cpp-python's loop; None where it is not installed."""
    try:
        import llama_cpp
    except ImportError:
        return None
    llama = llama_cpp.Llama(str(model), n_ctx=512, n_threads=threads or None, verbose=False)
    began = time.perf_counter()
    tokens = 0
    for prompt in prompts(PEER_PROMPTS):
        out = llama.create_completion(prompt, max_tokens=n_gen, temperature=0)
        tokens += out["usage"]["completion_tokens"]
    return tokens / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", type=Path, default=Path(".models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("-b", "--sequences", type=int, default=32)
    parser.add_argument("-n", "--n-gen", type=int, default=64)
    parser.add_argument("-t", "--threads", type=int, default=0)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with LLM(options.model, n_ctx=512, n_parallel=options.sequences, n_threads=options.threads) as llm:
        # The cache takes memory from the system until it has all it may have; only then is it as fast as it stays.
        for _ in range(WARM_UPS):
            generate_rate(llm, options.n_gen)
        for _ in range(options.rounds):
            decode = decode_rate(llm, options.sequences, options.n_gen)
            batch, n_prompt = generate_rate(llm, options.n_gen)
            bound = expected(llm, options.sequences, n_prompt, options.n_gen)
            rows.append((decode, bound, batch))
            print(f"decode {decode:8.1f}   with prefill {bound:8.1f}   LLM.generate {batch:8.1f} tokens/s", flush=True)
    decode, bound, batch = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"LLM.generate: {batch / decode:.1%} of decode, {batch / bound:.1%} of decode and prefill")
    peer = peer_rate(options.model, options.n_gen, options.threads)
    if peer is None:
        print("llama-cpp-python is not installed")
    else:
        print(f"llama-cpp-python's loop: {peer:.1f} tokens/s; LLM.generate is {batch / peer:.2f} times that")


if __name__ == "__main__":
    main()
