"""`rustllm pull`, `list` and `rm`, with a stand-in for the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustllm.config import EMBEDDED_MODEL
from tests.support.commands import run
from tests.support.hub import running_hub

STORY = EMBEDDED_MODEL.read_bytes()
FILES = {"README.md": b"#", "stories-Q4_K_M.gguf": STORY, "stories-Q8_0.gguf": STORY}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    with running_hub("someone/stories", FILES) as hub:
        yield {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}


def names(home: dict[str, str]) -> list[str]:
    return [row["name"] for row in json.loads(run("list", "--json", **home).stdout)]


def test_a_model_comes_is_used_and_goes(home: dict[str, str]) -> None:
    assert "no models" in run("list", **home).stdout
    done = run("pull", "someone/stories:Q8_0", **home)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == STORY
    pulled = json.loads(run("pull", "someone/stories", "--json", **home).stdout)
    assert pulled["size"] == len(STORY)
    assert names(home) == ["someone/stories:Q4_K_M", "someone/stories:Q8_0"]
    assert "someone/stories:Q8_0" in run("list", **home).stdout
    done = run("run", "-m", "someone/stories:Q8_0", "-n", "2", "Hi", stdin="", **home)
    assert done.returncode == 0, done.stderr
    done = run("rm", "someone/stories:Q8_0", **home)
    assert done.stdout == "removed someone/stories:Q8_0: 1 MiB\n"
    assert names(home) == ["someone/stories:Q4_K_M"]
    removed = json.loads(run("rm", "someone/stories:Q4_K_M", "--json", **home).stdout)
    assert removed == {"removed": ["someone/stories:Q4_K_M"], "freed": len(STORY)}
    assert names(home) == []


def test_what_is_not_there_is_named_and_nothing_is_removed(home: dict[str, str]) -> None:
    run("pull", "someone/stories:Q8_0", **home)
    done = run("rm", "someone/stories:Q8_0", "no/model", **home)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no/model: not in the cache; there are: someone/stories:Q8_0" in done.stderr
    assert names(home) == ["someone/stories:Q8_0"]
    done = run("pull", "someone/stories:Q2_K", **home)
    assert done.returncode == 1
    assert "no GGUF file is of type 'Q2_K'" in done.stderr


def test_the_memory_that_a_model_needs() -> None:
    found = json.loads(run("info", "--json").stdout)
    metadata = found["metadata"]
    layers, n_ctx = metadata["llama.block_count"], metadata["llama.context_length"]
    head = metadata["llama.embedding_length"] // metadata["llama.attention.head_count"]
    row = 2 * head * metadata["llama.attention.head_count_kv"]
    assert found["memory"] == {"weights": found["size"], "cache_f16": {str(n_ctx): 2 * layers * n_ctx * row}}
    assert f"cache, {n_ctx} tokens = " in run("info").stdout
