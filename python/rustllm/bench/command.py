"""The flags of `rustllm bench`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rustllm.config import EMBEDDED_MODEL

FORMS = ("table", "md", "json")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("-m", "--model", type=Path, default=EMBEDDED_MODEL, metavar="FILE", help="the GGUF file")
    parser.add_argument("-o", "--output", choices=FORMS, default="table", help="how to print (table)")
    parser.add_argument("--json", dest="output", action="store_const", const="json", help="the same as -o json")
    count = at_least(0)
    _add_model_flags(parser.add_argument_group("a model on this machine"), count)
    served = parser.add_argument_group(
        "a running server", "-p, -n and -b are words of a prompt, tokens of an answer, and clients; -r their requests"
    )
    served.add_argument("--url", metavar="URL", help="stream from this server instead")
    served.add_argument("--rate", type=positive, metavar="R", help="requests a second that arrive at random (Poisson)")
    served.add_argument("--requests", type=at_least(1), default=64, metavar="N", help="requests of --rate (64)")
    served.add_argument("--goal-ttft", type=positive, default=1000, metavar="MS", help="first token's goal (1000 ms)")
    served.add_argument("--goal-tpot", type=positive, default=100, metavar="MS", help="other tokens' goal (100 ms)")


def _add_model_flags(model: argparse._ArgumentGroup, count: Callable[[str], int]) -> None:
    model.add_argument("-p", "--n-prompt", type=count, default=512, metavar="N", help="prompt tokens (512); 0: none")
    model.add_argument("-n", "--n-gen", type=count, default=128, metavar="N", help="tokens to decode (128); 0: none")
    model.add_argument(
        "-b",
        "--sequences",
        type=counts,
        default=(1,),
        metavar="N,...",
        help="sequences that are decoded together, one row each (1)",
    )
    model.add_argument("-t", "--threads", type=count, default=0, metavar="N", help="compute threads; 0 is all cores")
    model.add_argument("-r", "--repeats", type=at_least(1), default=5, metavar="N", help="timed repeats of a row (5)")
    model.add_argument("-d", "--depth", type=count, default=0, metavar="N", help="tokens in the cache before (0)")
    model.add_argument("--step", type=at_least(1), default=2048, metavar="N", help="most tokens of a step (2048)")
    model.add_argument("-ctk", "--cache-type-k", default="f16", metavar="TYPE", help="type of cached keys (f16)")
    model.add_argument("-ctv", "--cache-type-v", default="f16", metavar="TYPE", help="type of cached values (f16)")
    model.add_argument("--limits", action="store_true", help="measure the machine too, and each row's share of it")


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    return _run_url(options) if options.url else _run_model(options)


def _run_url(options: argparse.Namespace) -> int:
    from rustllm.bench import latency, load, show

    goals = latency.Goals(options.goal_ttft / 1e3, options.goal_tpot / 1e3)
    asked = load.Load(options.url, options.n_prompt, max(1, options.n_gen), options.repeats, goals)
    load.split_url(options.url)
    if options.rate:
        found = [load.poisson(asked, options.rate, options.requests)]
    else:
        found = [load.closed(asked, clients) for clients in options.sequences]
    show.print_summaries(found, options.output)
    return 0


def _run_model(options: argparse.Namespace) -> int:
    from rustllm.bench import rows, show

    plan = rows.Plan(
        model=options.model,
        n_prompt=options.n_prompt,
        n_gen=options.n_gen,
        sequences=options.sequences,
        threads=options.threads,
        depth=options.depth,
        repeats=options.repeats,
        step=options.step,
        cache_type_k=options.cache_type_k,
        cache_type_v=options.cache_type_v,
        limits=options.limits,
    )
    show.print_rows(list(rows.measure(plan, _report)), options.output)
    return 0


def _report(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\x1b[2K\r{text} …", end="\r", file=sys.stderr, flush=True)


def at_least(least: int) -> Callable[[str], int]:
    """A parser of whole numbers from `least` up."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: a whole number from {least} up")
        return value

    return parse


def counts(text: str) -> tuple[int, ...]:
    """Parses a list of whole numbers above 0, such as `1,8,16`."""
    return tuple(at_least(1)(part) for part in text.split(","))


def positive(text: str) -> float:
    """Parses a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: a number above 0")
    return value
