"""From loading to closing: settings, memory, threads, forks, pickles, interrupts."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rustllm import LLM, EngineClosedError, GenerationError, ModelError, SamplingParams
from rustllm.config import EMBEDDED_MODEL

GREEDY = SamplingParams(max_tokens=12, temperature=0)
ENDLESS = SamplingParams(ignore_eos=True)


def test_settings_of_both_names() -> None:
    with LLM(EMBEDDED_MODEL, max_model_len=64, max_num_seqs=3) as llm:
        assert llm.n_ctx == 64
        assert repr(llm) == "LLM('stories260K.gguf', n_ctx=64, n_parallel=3)"


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"n_ctx": 64, "max_model_len": 64}, TypeError, "n_ctx and max_model_len are two names of one setting"),
        ({"n_ctx": 2_000_000_000}, ValueError, "n_ctx: a context of 2000000000 tokens takes 1192.09 GiB"),
        ({"n_ctx": -1}, ValueError, "n_ctx: -1 is out of range"),
        ({"n_parallel": 0}, ValueError, "n_parallel: 0 is out of range"),
        ({"cache_type_k": "q3"}, ValueError, "cache_type_k: \"?'?q3"),
        ({"pooling": "most"}, ValueError, "pooling"),
        (
            {"model": "missing.gguf"},
            FileNotFoundError,
            "'missing.gguf' does not exist; allowed: a GGUF file",
        ),
        ({"model": Path(__file__).parent}, FileNotFoundError, "is a directory"),
        ({"model": __file__}, ModelError, "test_life.py"),
    ],
)
def test_bad_settings(settings: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        LLM(**settings)


def test_repositories_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repo: str, *, token: str | None) -> Path:
        asked.append((repo, token))
        return EMBEDDED_MODEL

    monkeypatch.setattr("rustllm.hub.download", download)
    with LLM("someone/stories-GGUF:Q4_K_M", hf_token="secret") as llm:
        assert llm.path == EMBEDDED_MODEL
        assert b"secret" not in pickle.dumps(llm)
    assert asked == [("someone/stories-GGUF:Q4_K_M", "secret")]


def test_closing_ends_threads_and_is_final() -> None:
    tasks, files = (len(os.listdir(f"/proc/self/{name}")) for name in ("task", "fd"))
    with LLM(n_threads=3) as llm:
        llm.generate("Once", GREEDY)
        assert len(os.listdir("/proc/self/task")) >= tasks + 3
    assert wait_for(lambda: len(os.listdir("/proc/self/task")) <= tasks)
    for use in (llm.generate, llm.chat, llm.embed, llm.score, llm.tokenize):
        with pytest.raises(EngineClosedError, match="the model is closed"):
            use("Once")  # type: ignore[operator]  # the common type of the methods is object
    assert repr(llm).endswith(", closed)")
    llm.close()
    # The errors above hold it, too.
    del llm, use
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files


def test_closing_frees_memory(tmp_path: Path) -> None:
    script = """
        import gc, sys
        from rustllm import LLM, SamplingParams

        def resident():
            gc.collect()
            return int(open("/proc/self/statm").read().split()[1]) * 4096

        def use():
            with LLM(sys.argv[1], n_ctx=2048) as llm:
                llm.generate(["Once"] * 8, SamplingParams(max_tokens=8), use_tqdm=False)
                return resident()

        use()
        before = resident()
        loaded = use()
        after = resident()
        assert loaded - before > 60 << 20, (before, loaded)
        assert after - before < 10 << 20, (before, after)
    """
    model = Path(__file__).resolve().parents[2] / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
    run(tmp_path, script, str(model))


def test_dropping_closes() -> None:
    before = len(os.listdir("/proc/self/task"))
    llm = LLM(n_threads=2)
    llm.generate("Once", GREEDY)
    del llm
    assert wait_for(lambda: len(os.listdir("/proc/self/task")) <= before)


def test_closing_ends_what_other_threads_wait_for() -> None:
    llm = LLM(context_shift=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(llm.generate, "Once", ENDLESS)
        assert wait_for(lambda: llm._loaded.dispatcher.active == 1)
        llm.close()
        with pytest.raises(GenerationError, match="shut down"):
            waiting.result(10)


def test_threads_share_a_model(llm: LLM) -> None:
    prompts = [f"The {word}" for word in ("cat", "dog", "boy", "girl", "sun", "moon")]
    alone = {prompt: llm.generate(prompt, GREEDY)[0].text for prompt in prompts}
    barrier = threading.Barrier(len(prompts))

    def work(prompt: str) -> list[str]:
        barrier.wait(10)
        return [llm.generate([prompt, prompt], GREEDY, use_tqdm=False)[1].text for _ in range(5)]

    with ThreadPoolExecutor(len(prompts)) as pool:
        for prompt, texts in zip(prompts, pool.map(work, prompts), strict=True):
            assert texts == [alone[prompt]] * 5


def test_pickled_settings_load_again() -> None:
    with LLM(n_ctx=128, n_parallel=2) as llm, pickle.loads(pickle.dumps(llm)) as other:
        assert repr(other) == repr(llm)
        assert other._loaded is not llm._loaded
        assert other.generate("Once", GREEDY)[0].text == llm.generate("Once", GREEDY)[0].text


def test_a_forked_child_is_told_and_ends(tmp_path: Path) -> None:
    script = """
        import os, sys
        from rustllm import LLM, ForkedError, SamplingParams

        llm = LLM()
        llm.generate("Once", SamplingParams(max_tokens=2))
        child = os.fork()
        if child == 0:
            for use in (lambda: llm.generate("Once"), lambda: llm.embed("Once"), lambda: llm.tokenize("Once")):
                try:
                    use()
                except ForkedError as error:
                    assert "whose threads a forked child does not have" in str(error), error
                else:
                    os._exit(2)
            llm.close()
            # It may load its own, and ends as any process does, with all that it inherited.
            with LLM() as own:
                own.generate("Once", SamplingParams(max_tokens=2))
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        llm.generate("Once", SamplingParams(max_tokens=2))
    """
    run(tmp_path, script)


def _in_child(llm: LLM) -> str:
    return llm.generate("Once", GREEDY)[0].text


def test_spawned_processes_get_their_own() -> None:
    with LLM(n_ctx=64) as llm, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_in_child, (llm,)) == llm.generate("Once", GREEDY)[0].text


INTERRUPTED = """
    import sys, time
    from rustllm import LLM, SamplingParams

    llm = LLM(context_shift=True, n_parallel=4)
    print("ready", flush=True)
    began = time.monotonic()
    try:
        {call}
    except KeyboardInterrupt:
        pass
    else:
        sys.exit("it was not interrupted")
    dispatcher = llm._loaded.dispatcher
    assert dispatcher.active == 0
    until = time.monotonic() + 2
    while any(slot["is_processing"] for slot in llm._loaded.native.slots()) or llm._loaded.native.queue_length():
        assert time.monotonic() < until, "sequences still run"
    [out] = llm.generate("Once", SamplingParams(max_tokens=4))
    assert len(out.token_ids) == 4
    print("usable", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    [
        "llm.generate(['Once upon a time'] * 64, SamplingParams(ignore_eos=True))",
        "llm.generate('Once', SamplingParams(ignore_eos=True))",
        "llm.chat([[dict(role='user', content='Hi')]] * 9, SamplingParams(ignore_eos=True))",
        "list(llm.generate('Once', SamplingParams(ignore_eos=True), stream=True))",
    ],
)
def test_an_interrupt_stops_a_batch_at_once(tmp_path: Path, call: str) -> None:
    with started(tmp_path, INTERRUPTED.format(call=call)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        line = process.stdout.readline()
        took = time.monotonic() - began
        _, errors = process.communicate(timeout=20)
    assert (line, process.returncode) == ("usable\n", 0), errors
    assert took < 1.5


def test_a_server_starts_without_it() -> None:
    code = "import sys, rustllm.cli; print([m for m in ('rustllm.llm', 'tqdm', 'asyncio') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_it_needs_no_server() -> None:
    code = (
        "import sys; from rustllm import LLM, AsyncLLM; "
        "print([m for m in sys.modules if m in ('fastapi', 'uvicorn', 'starlette') or m.startswith('rustllm.server')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def wait_for(check: Any, seconds: float = 5.0) -> bool:
    """Whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def started(folder: Path, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script in a process of its own, which does not outlive the test."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    command = [sys.executable, str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(folder: Path, script: str, *arguments: str) -> None:
    """Runs a script to its end, which must be a good one."""
    with started(folder, script, *arguments) as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
