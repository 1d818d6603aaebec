"""Scripts that complete commands in shells, and what all commands share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import run

#: Commands that print data.
DATA = ("chat", "run", "batch", "pull", "list", "rm", "perplexity", "tokenize", "info", "bench")


@pytest.mark.parametrize(
    ("shell", "flag"), [("bash", "--json-schema"), ("zsh", "--json-schema"), ("fish", "json-schema")]
)
def test_shells_complete_commands(shell: str, flag: str) -> None:
    script = run("completion", shell).stdout
    # The last one is a flag of the server's.
    for word in ("perplexity", "pull", "batch", flag, "sse-ping-interval"):
        assert word in script
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n"], input=script, text=True, timeout=60).returncode == 0


@pytest.fixture(scope="module")
def fish() -> list[str]:
    return run("completion", "fish").stdout.splitlines()


def test_fish_completes_commands_and_values(fish: list[str]) -> None:
    assert fish[1] == "complete -c rustllm -f"
    assert "complete -c rustllm -n __fish_use_subcommand -a tokenize -d 'the tokens of a text'" in fish
    assert "complete -c rustllm -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'" in fish
    # The input of a batch is a file, and what info looks into; a prompt is not.
    assert [line for line in fish if line.endswith("-F")] == [
        f"complete -c rustllm -n '__fish_seen_subcommand_from {command}' -F" for command in ("batch", "info")
    ]
    bench = next(line for line in fish if "from bench" in line and "-l output" in line)
    assert "-s o -l output -x -a 'table md json' -d" in bench


def test_fish_knows_all_spellings_of_a_flag(fish: list[str]) -> None:
    model = next(line for line in fish if "from run" in line and "-l model" in line)
    assert "-s m -l model -o hf -l hf-repo -r -F -d" in model
    switch = next(line for line in fish if "from batch" in line and "-l json " in line)
    assert switch.endswith("-l json -d 'print the summary as JSON'")
    quoted = next(line for line in fish if "-a batch" in line)
    assert "OpenAI\\'s batch API" in quoted


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_itself_completes(tmp_path: Path, fish: list[str]) -> None:
    script = tmp_path / "rustllm.fish"
    script.write_text("\n".join(fish))
    command = ["fish", "--no-config", "-c", f"source {script}; complete -C 'rustllm batch --er'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "--errors\twhere the answers of requests that fail go instead\n"


@pytest.mark.parametrize("command", DATA)
def test_data_comes_as_json_too(command: str) -> None:
    assert "--json" in run(command, "--help").stdout
