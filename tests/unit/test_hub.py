"""Models from a hub: which file is chosen, and how it arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustllm.config import EMBEDDED_MODEL
from rustllm.hub import CachedModel, HubError, cached_models, choose_file, remove
from tests.support.hub import Hub, running_hub

REPO = "someone/stories-GGUF"
STORY = EMBEDDED_MODEL.read_bytes()
FILES = {
    "README.md": b"# stories",
    "mmproj-Q4_K_M.gguf": b"no model",
    "stories-Q2_K.gguf": b"another",
    "stories-Q4_K_M.gguf": STORY,
    "stories-Q8_0-00001-of-00002.gguf": b"first",
    "stories-Q8_0-00002-of-00002.gguf": b"second",
    "stories-F16-00001-of-00003.gguf": b"first",
    "stories-F16-00003-of-00003.gguf": b"third",
}


@pytest.mark.parametrize(
    ("files", "quant", "chosen"),
    [
        (["b-Q8_0.gguf", "a-Q4_K_M.gguf"], None, "a-Q4_K_M.gguf"),
        (["b-Q8_0.gguf", "a-F16.gguf"], None, "b-Q8_0.gguf"),
        (["b-Q2_K.gguf", "a-F16.gguf"], None, "a-F16.gguf"),
        (["a-Q4_K_M.gguf", "a-q5_k_s.gguf"], "Q5_K_S", "a-q5_k_s.gguf"),
        (["a-Q4_K_M.gguf", "a-Q4_K.gguf"], "Q4_K", "a-Q4_K.gguf"),
        (["sub/x-Q4_0.gguf"], "q4_0", "sub/x-Q4_0.gguf"),
        (["mmproj-F16.gguf", "x.imatrix.gguf", "z.gguf", "mtp-Q4_K_M.gguf"], None, "z.gguf"),
        (["a-Q4_K_M-00002-of-00002.gguf", "a-Q4_K_M-00001-of-00002.gguf"], None, "a-Q4_K_M-00001-of-00002.gguf"),
    ],
)
def test_choice(files: list[str], quant: str | None, chosen: str) -> None:
    assert choose_file(files, quant) == chosen


def test_no_choice() -> None:
    with pytest.raises(HubError, match="no GGUF model"):
        choose_file(["README.md", "mmproj-F16.gguf"])
    with pytest.raises(HubError, match=r"'Q9'; there are: a-F16\.gguf"):
        choose_file(["a-F16.gguf"], "Q9")
    # The type is text, not a pattern.
    with pytest.raises(HubError, match="no GGUF file"):
        choose_file(["a-F16.gguf"], "F.6")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(REPO, FILES) as running:
        yield running


class Home:
    """A cache of its own, used by processes that find the stand-in through HF_ENDPOINT."""

    def __init__(self, folder: Path, url: str) -> None:
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA_"))}
        self.env |= {"HF_ENDPOINT": url, "HF_HOME": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1"}

    def download(self, repo: str, **options: object) -> subprocess.CompletedProcess[str]:
        code = f"from rustllm.hub import download; print(download({repo!r}, **{options!r}))"
        return subprocess.run([sys.executable, "-c", code], env=self.env, capture_output=True, text=True, timeout=60)

    def path(self, repo: str, **options: object) -> Path:
        done = self.download(repo, **options)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    def error(self, repo: str, **options: object) -> str:
        done = self.download(repo, **options)
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def home(tmp_path: Path, hub: Hub) -> Home:
    return Home(tmp_path / "home", hub.url)


def test_a_model_is_downloaded_once(home: Home, hub: Hub) -> None:
    path = home.path(REPO)
    assert path.name == "stories-Q4_K_M.gguf"
    assert path.read_bytes() == STORY
    assert home.path(REPO) == path
    assert len(hub.downloads()) == 1


def test_a_quantization_or_a_file_may_be_named(home: Home) -> None:
    assert home.path(f"{REPO}:q2_k").read_bytes() == b"another"
    assert home.path(REPO, file="STORIES-q2_k.gguf").read_bytes() == b"another"


def test_all_parts_of_a_model_arrive_side_by_side(home: Home, hub: Hub) -> None:
    path = home.path(f"{REPO}:q8_0")
    assert path.name == "stories-Q8_0-00001-of-00002.gguf"
    assert path.with_name("stories-Q8_0-00002-of-00002.gguf").read_bytes() == b"second"
    assert home.path(REPO, file="stories-Q8_0-00002-of-00002.gguf") == path
    assert len(hub.downloads()) == 2


def test_the_token_is_sent(home: Home, hub: Hub) -> None:
    home.path(REPO, token="hf_secret")
    assert "Bearer hf_secret" in hub.keys


def test_offline_takes_the_cache_alone(home: Home, hub: Hub) -> None:
    assert "not in the local cache" in home.error(REPO, offline=True)
    path = home.path(REPO)
    seen = len(hub.requests)
    assert home.path(REPO, offline=True) == path
    assert len(hub.requests) == seen


def test_the_cache_helps_when_the_hub_is_away(home: Home) -> None:
    path = home.path(REPO)
    home.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert home.path(REPO) == path


def test_errors_are_one_line(home: Home) -> None:
    assert "there is no file 'x.gguf'" in home.error(REPO, file="x.gguf")
    assert "'Q3_K'" in home.error(f"{REPO}:Q3_K")
    missing = "of the 3 parts of stories-F16-00001-of-00003.gguf, there are none called stories-F16-00002-of-00003.gguf"
    assert missing in home.error(f"{REPO}:F16")
    assert "cannot download nobody/nothing" in home.error("nobody/nothing")


def test_a_hub_that_is_away_is_named(home: Home) -> None:
    home.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert f"cannot download {REPO}" in home.error(REPO)


def cache(folder: Path, repo: str, *names: str) -> None:
    """A repository in the cache, as the library lays it out."""
    root = folder / f"models--{repo.replace('/', '--')}"
    for part in ("blobs", "refs", "snapshots/c0"):
        (root / part).mkdir(parents=True)
    (root / "refs/main").write_text("c0")
    for number, name in enumerate(names):
        (root / f"blobs/{number}").write_bytes(b"GGUF")
        (root / "snapshots/c0" / name).symlink_to(f"../../blobs/{number}")


def test_the_cache_is_listed_and_loses_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    assert cached_models() == [], "there is no cache yet"
    cache(tmp_path / "hub", "o/two", "m-q4_k_m.gguf", "m-Q8_0.gguf", "mmproj-F16.gguf", "m-Q2_K-00001-of-00002.gguf")
    in_parts = ("m-F16-00001-of-00002.gguf", "m-F16-00002-of-00002.gguf")
    cache(tmp_path / "hub", "o/parts", *in_parts)
    cache(tmp_path / "hub", "o/one", "model.gguf")
    cache(tmp_path / "hub", "o/none", "model.safetensors")
    found = {model.name: model for model in cached_models()}
    assert list(found) == ["o/one", "o/parts:F16", "o/two:Q4_K_M", "o/two:Q8_0"]
    large = found["o/parts:F16"]
    assert [path.name for path in large.paths] == list(in_parts)
    assert large.size == 8
    remove(large)
    assert not any(path.exists() for path in large.paths)
    first: CachedModel = found["o/two:Q8_0"]
    blob = first.path.resolve()
    remove(first)
    assert not first.path.exists()
    assert not blob.exists()
    assert [model.name for model in cached_models()] == ["o/one", "o/two:Q4_K_M"]
    remove(found["o/two:Q4_K_M"])
    assert [model.name for model in cached_models()] == ["o/one"]
