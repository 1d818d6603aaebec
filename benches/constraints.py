"""What constraints cost: the mask's share of a decode step, and the time to the first token of a request with
a schema that the server has never seen, while other requests stream.

Run it as `.venv/bin/python -m benches.constraints` on an idle machine; it prints two tables.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import select
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from rustllm._rustllm import Engine, Grammar, SamplingParams
from rustllm.bench.latency import event_gaps, first_token, quantile
from rustllm.bench.load import split_url
from rustllm.bench.stream import Answer, ask
from rustllm.chat.plan import make_plan
from rustllm.chat.tool import parse_tools
from rustllm.chat.tools import FORMATS

ROOT = Path(__file__).resolve().parents[1]
SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"

#: Most part of a decode step that the mask may take, and most milliseconds that a new schema of ten
#: kilobytes may add to the time to the first token.
GOAL_MASK, GOAL_SCHEMA = 0.1, 50.0

PROMPT = "<|im_start|>user\nDescribe six people as JSON.<|im_end|>\n<|im_start|>assistant\n"
TEMPERATURE = 1.0
#: Steps with all answers running, below which a round does not count.
LEAST_STEPS = 10

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "city": {"type": "string", "minLength": 3, "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "email": {"type": "string", "format": "email", "maxLength": 30},
        "roles": {"type": "array", "items": {"enum": ["admin", "author", "reader"]}, "maxItems": 3},
        "score": {"type": "number"},
    },
    "required": ["name", "city", "age", "email", "roles", "score"],
}
PEOPLE = {"type": "array", "items": PERSON, "minItems": 6, "maxItems": 6}
CALL = {"type": "object", "properties": {"people": PEOPLE}, "required": ["people"]}
GBNF = r"""
root ::= "[" ws person ("," ws person){5} "]"
person ::= "{" ws "\"name\":" ws string "," ws "\"age\":" ws [1-9] [0-9]{0,2} "," ws "\"city\":" ws string "}" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" ["\\bfnrt]){0,40} "\"" ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


def grammars(engine: Engine) -> dict[str, Grammar | None]:
    """What is measured; None is free text."""
    hermes = next(form for form in FORMATS if form.name == "Hermes 2 Pro")
    tools = parse_tools([{"type": "function", "function": {"name": "save", "parameters": CALL}}], "required", False)
    calls = make_plan(hermes, PROMPT, tools, reasoning="deepseek", thinks=False).grammar(engine.tokenizer, None)
    assert calls is not None
    return {
        "free text": None,
        "json_schema": engine.compile_grammar("json_schema", json.dumps(PEOPLE), param="json_schema"),
        "json_object": engine.compile_grammar("json_object", "", param="response_format"),
        "GBNF": engine.compile_grammar("gbnf", GBNF, param="grammar"),
        "tool call": engine.compile_syntax(calls.source, calls.schemas, param="tools"),
    }


def steps(engine: Engine, grammar: Grammar | None, clients: int, n_tokens: int, seed: int) -> list[float]:
    """Seconds of each decode step in which `clients` answers run, the first one with the prompt in it left out."""
    params = SamplingParams(
        temperature=TEMPERATURE, seed=seed, n=clients, n_predict=n_tokens, ignore_eos=grammar is None
    )
    engine.submit(engine.tokenizer.encode(PROMPT, parse_special=True), params, grammar)
    running, arrivals = clients, []
    while running:
        select.select([engine.fileno()], [], [], 60)
        outputs = engine.drain()
        assert all(output.error is None for output in outputs)
        if running == clients and any(output.kind == "token" for output in outputs):
            arrivals.append(time.perf_counter())
        running -= sum(output.is_last for output in outputs)
    return [after - before for before, after in itertools.pairwise(arrivals[1:])]


def masks(rounds: int, clients: tuple[int, ...], n_tokens: int) -> None:
    """Prints the first table."""
    engine = Engine.load(SMOLLM2, n_ctx=2048 * max(clients), n_parallel=max(clients))
    found = grammars(engine)
    print(f"| clients | constraint | ms a step | over free text | goal {GOAL_MASK:.0%} |\n|---:|---|---:|---:|---|")
    for n in clients:
        times: dict[str, list[float]] = {name: [] for name in found}
        shares: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(-1, rounds):
            free: list[float] = []
            for name, grammar in found.items():
                own = steps(engine, grammar, n, n_tokens, max(turn, 0))
                free = free or own
                # Answers that end early are compared with as many steps: later ones have more to attend to.
                both = min(len(own), len(free))
                if turn >= 0 and both >= LEAST_STEPS:
                    times[name].append(statistics.fmean(own[:both]))
                    shares[name].append(statistics.fmean(own[:both]) / statistics.fmean(free[:both]) - 1.0)
        for name, seconds in times.items():
            if not seconds:
                continue
            share = statistics.median(shares[name])
            kept = "kept" if share <= GOAL_MASK else "missed"
            print(f"| {n} | {name} | {1e3 * statistics.median(seconds):.3f} | {share:+.1%} | {kept} |")
    engine.shutdown()


def new_schema(seed: int, size: int = 10_000) -> dict[str, Any]:
    """An object schema of about `size` bytes that nobody has seen."""
    choose = random.Random(seed)
    kinds: list[Any] = [
        {"type": "string", "maxLength": 20},
        {"type": "integer", "minimum": 0, "maximum": 1000},
        {"type": "array", "items": {"type": "number"}, "maxItems": 4},
        {"enum": ["low", "middle", "high"]},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        {"anyOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]},
        {"$ref": "#/$defs/place"},
    ]
    place = {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}, "required": ["x", "y"]}
    properties: dict[str, Any] = {}
    schema = {"type": "object", "properties": properties, "required": [], "$defs": {"place": place}}
    written = 0
    while written < size:
        name, value = f"field_{choose.randrange(10**9)}", choose.choice(kinds)
        properties[name] = {**value, "description": f"Value number {choose.randrange(10**6)}."}
        written += len(json.dumps(properties[name])) + len(name) + 4
    schema["required"] = list(properties)[:20]
    return schema


def request(url: SplitResult, prompt: str, n_tokens: int, **fields: Any) -> bytes:
    """A streaming chat request."""
    messages = [{"role": "user", "content": prompt}]
    options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": TEMPERATURE}
    body = json.dumps({"messages": messages, "max_tokens": n_tokens, **options, **fields}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def intrude(url: SplitResult, streams: int, tries: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds to the first token of free and of constrained requests beside `streams` others, and the longest
    gaps between those others' events meanwhile."""
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(-1, tries):
        for kind in ("free", "new schema"):
            others = [Answer(index, 0.0) for index in range(streams)]
            long = [request(url, f"Tell story {index}.", 220, ignore_eos=True) for index in range(streams)]
            tasks = [asyncio.create_task(ask(url, text, i, others[i])) for i, text in enumerate(long)]
            await asyncio.sleep(0.5)
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": new_schema(1000 + turn)}}
            fields = {} if kind == "free" else {"response_format": form}
            asked = await ask(url, request(url, "Fill in the form.", 8, **fields), streams)
            await asyncio.gather(*tasks)
            for answer in (asked, *others):
                if answer.error:
                    raise RuntimeError(answer.error)
            gaps = [gap for other in others for gap in _during(other, asked.began, asked.ended)]
            if turn >= 0:
                row = found.setdefault(kind, {"ttft": [], "gap": [], "longest": []})
                row["ttft"].append(1e3 * first_token(asked))
                row["gap"].append(1e3 * quantile(gaps, 0.5))
                row["longest"].append(1e3 * max(gaps, default=0.0))
    return found


def _during(answer: Answer, began: float, ended: float) -> list[float]:
    seen = [arrival for arrival in answer.arrivals if began - 0.02 <= arrival[0] <= ended]
    return event_gaps(Answer(answer.client, answer.began, arrivals=seen))


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[SplitResult]:
    """A server on a free port, ready when yielded, ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(ROOT / ".venv/bin/rustllm-serve"), "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
                break
            time.sleep(0.1)
        yield split_url(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="answers of each constraint, and requests of each kind")
    parser.add_argument("--tokens", type=int, default=160, help="tokens of an answer at most")
    parser.add_argument("--streams", type=int, default=3, help="requests that stream beside the one with a new schema")
    options = parser.parse_args()
    masks(options.rounds, (1, 8), options.tokens)
    with serving("-m", str(SMOLLM2), "-c", "8192", "-np", str(options.streams + 1)) as url:
        found = asyncio.run(intrude(url, options.streams, options.rounds))
    print("\n| request beside streams | ms to its first token | streams' median gap, ms | longest gap, ms |")
    print("|---|---:|---:|---:|")
    for kind, row in found.items():
        median = {name: statistics.median(values) for name, values in row.items()}
        print(f"| {kind} | {median['ttft']:.1f} | {median['gap']:.1f} | {median['longest']:.1f} |")
    added = statistics.median(found["new schema"]["ttft"]) - statistics.median(found["free"]["ttft"])
    print(f"\nadded by the schema: {added:.1f} ms (goal: at most {GOAL_SCHEMA:.0f})")


if __name__ == "__main__":
    main()
