"""`--models-preset`, and what a router hands on to its models."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustllm.config import ServerSettings, UsageError, parse
from rustllm.server.router_mode.arguments import environment, inherited
from rustllm.server.router_mode.catalog import Catalog
from rustllm.server.router_mode.models import Models
from rustllm.server.router_mode.presets import Preset, read_presets


def presets(tmp_path: Path, text: str) -> dict[str, Preset]:
    path = tmp_path / "models.ini"
    path.write_text(text)
    return read_presets(path)


def test_keys_are_names_of_flags(tmp_path: Path) -> None:
    found = presets(
        tmp_path,
        "version = 1\n[*]\nc = 8192\nn-gpu-layers = 8\n"
        "[org/My-Model:Q8_0]\n; a comment\nchat-template = chatml\nc = 4096 # less\nno-jinja = true\n"
        "LLAMA_ARG_BATCH = 64\nmlock = false\nmmap = true\n",
    )
    assert found["*"].arguments == ["--ctx-size=8192", "--n-gpu-layers=8"]
    arguments = found["org/My-Model:Q8_0"].arguments
    assert set(arguments) == {
        *("--ctx-size=4096", "--n-gpu-layers=8", "--chat-template=chatml", "--jinja=off", "--batch-size=64"),
        "--no-mmap=true",
    }
    settings = ServerSettings.from_arguments(parse(arguments, {}))
    assert (settings.n_ctx, settings.jinja, settings.n_batch) == (4096, False, 64)


def test_keys_for_presets_alone(tmp_path: Path) -> None:
    text = "[x]\nmodel = ~/x.gguf\nalias = one, two\ntags = t\nload-on-startup = true\nstop-timeout = 3\nport = 9\n"
    one = presets(tmp_path, text)["x"]
    assert (one.aliases, one.tags, one.load_on_startup, one.stop_timeout) == (("one", "two"), ("t",), True, 3)
    assert (one.source, one.arguments) == ({"model": "~/x.gguf"}, []), "where to listen is the router's affair"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[x]\nnope = 1\n", "[x] nope: there is no such flag"),
        ("[x]\nc = many\n", "[x] c: --ctx-size: 'many' is not allowed; allowed: a whole number"),
        ("[x]\njinja = maybe\n", "[x] jinja: 'maybe' is not allowed; allowed: on, off"),
        ("[x]\nstop-timeout = soon\n", "[x] stop-timeout: 'soon' is not allowed"),
        ("[x]\nrope-scale = 2\n", "[x] rope-scale: --rope-scale is refused"),
        ("[x\nc = 1\n", "--models-preset: "),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        presets(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr("rustllm.hub.cached_models", lambda: [])
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.gguf").touch()
    (tmp_path / "models/notes.txt").touch()
    (tmp_path / "presets.ini").touch()
    settings = ServerSettings(models_dir=tmp_path / "models", models_preset=tmp_path / "presets.ini")
    return Catalog(settings, ["-c", "64"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[x]\nc = 1\n", "[x]: there is no such model; name one with model or hf-repo"),
        ("[x]\nmodel = m.gguf\nhf-repo = a/b\n", "[x]: model and hf-repo both name a model"),
        ("[x]\nmodel = m.gguf\nalias = a\n", "[x] alias: 'a' is a name of model 'a'"),
        ("[x]\nmodel = m.gguf\nalias = n\n[y]\nmodel = m.gguf\nalias = n\n", "[y] alias: 'n' is a name of model 'x'"),
    ],
)
def test_sections_that_cannot_be(catalog: Catalog, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "presets.ini").write_text(text)
    with pytest.raises(UsageError) as caught:
        catalog.read()
    assert says in str(caught.value)


def test_the_command_line_wins_over_presets_over_those_of_all(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "presets.ini").write_text("[*]\nc = 1\nb = 2\nstop-timeout = 4\n[x]\nhf-repo = o/r:Q4_0\nb = 3\n")
    found = catalog.read()
    assert set(found) == {"a", "x"}
    a, x = (ServerSettings.from_arguments(parse(found[name].arguments, {})) for name in ("a", "x"))
    assert (a.n_ctx, a.n_batch, a.name, a.model) == (64, 2, "a", tmp_path / "models/a.gguf")
    assert (x.n_ctx, x.n_batch, x.name, x.hf_repo) == (64, 3, "x", "o/r:Q4_0")
    assert found["a"].stop_timeout == 4


def test_no_more_models_are_loaded_at_once_than_may_be(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "presets.ini").write_text("[*]\nload-on-startup = on\n[a]\n[x]\nmodel = m.gguf\n")
    settings = ServerSettings(models_dir=tmp_path / "models", models_max=1)
    with pytest.raises(UsageError, match="load-on-startup of 2 models, but --models-max allows 1"):
        Models(settings, catalog, {}, tmp_path)


def test_a_model_inherits_all_but_what_is_the_routers() -> None:
    line = ["-c", "64", "--models-dir", ".", "--port", "1", "--api-key=k", "--temp", "0.5", "-ngl", "9", "--host", "x"]
    assert inherited(parse(line, {}).line) == ["-c", "64", "--temp", "0.5"]
    environ = {
        "LLAMA_ARG_CTX_SIZE": "9",
        "LLAMA_ARG_MODELS_DIR": ".",
        "LLAMA_ARG_NO_MODELS_AUTOLOAD": "1",
        "LLAMA_API_KEY": "k",
        "HF_TOKEN": "old",
        "HOME": "/h",
    }
    assert environment(environ, "new") == {
        "LLAMA_ARG_CTX_SIZE": "9",
        "HOME": "/h",
        "HF_TOKEN": "new",
        "RUSTLLM_ROUTER_LINK": "1",
    }
    assert environment({"RUSTLLM_ROUTER_KEYS": "/old"}, None) == {"RUSTLLM_ROUTER_LINK": "1"}
    assert environment({}, None, Path("/d")) == {"RUSTLLM_ROUTER_LINK": "1", "RUSTLLM_ROUTER_KEYS": "/d"}


def test_a_named_model_is_served_alone() -> None:
    assert ServerSettings(models_dir=Path(".")).routes
    assert not ServerSettings(models_dir=Path("."), model=Path("m.gguf")).routes
    assert not ServerSettings().routes
