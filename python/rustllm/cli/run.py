"""`rustllm run`: one prompt, one answer."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from rustllm.cli import asking
from rustllm.cli.inspection import print_json
from rustllm.config import UsageError


def answer(options: argparse.Namespace) -> int:
    """Answers the prompt; the text goes to standard output as it comes."""
    prompt = _prompt(options.prompt)
    params = asking.sampling_params(options)
    with asking.load(options) as llm:
        if options.raw:
            if options.json:
                [completion] = llm.generate(prompt, params, use_tqdm=False)
                print_json(dataclasses.asdict(completion))
                return 0
            with llm.generate(prompt, params, stream=True) as texts:
                for text in texts:
                    print(text.text, end="", flush=True)
            print()
            return 0
        messages = [*asking.opening(options), {"role": "user", "content": prompt}]
        more = asking.chat_options(options)
        if options.json:
            print_json(dataclasses.asdict(llm.chat(messages, params, use_tqdm=False, **more)))
            return 0
        with llm.chat(messages, params, stream=True, **more) as parts:
            for part in parts:
                # Thoughts are shown to whoever watches, and kept out of pipes.
                if part.reasoning_content and sys.stderr.isatty():
                    print(f"\x1b[2m{part.reasoning_content}\x1b[0m", end="", file=sys.stderr, flush=True)
                print(part.content, end="", flush=True)
    print()
    return 0


def _prompt(words: list[str]) -> str:
    parts = [" ".join(words)] if words else []
    if not sys.stdin.isatty():
        parts += [piped] if (piped := sys.stdin.read().strip("\n")) else []
    if not parts:
        raise UsageError("there is no prompt; allowed: words behind the command, or text from a pipe")
    return "\n\n".join(parts)
