"""Each page of the documentation, followed from its first block to its last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import KINDS, Block, Reader, blocks

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / ".models"
PAGES = sorted(page.relative_to(ROOT) for page in (ROOT / "docs").glob("*.md"))
FOLLOWED = [page for page in PAGES if blocks(ROOT / page)]


@pytest.mark.parametrize("page", FOLLOWED, ids=str)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    for model in MODELS.glob("*.gguf"):
        (tmp_path / model.name).symlink_to(model.resolve())
    needed = [name for name in ("SmolLM2-135M-Instruct.Q4_1.gguf",) if not (tmp_path / name).exists()]
    if needed:
        pytest.skip("`make models` fetches the models of the pages")
    Reader(ROOT / page, tmp_path).read()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_block_is_run(page: Path) -> None:
    assert {block.kind for block in blocks(ROOT / page)} <= set(KINDS)
    assert "\n    $ " not in (ROOT / page).read_text(), "a command outside of a block"


@pytest.mark.parametrize("page", [Path("README.md"), *PAGES], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page.parent / target).exists(), target


def page_of(tmp_path: Path, text: str) -> Reader:
    page = tmp_path / "page.md"
    page.write_text(text)
    return Reader(page, tmp_path)


def test_a_page_is_read_in_order(tmp_path: Path) -> None:
    text = "```sh\necho 1 > file\n```\n\n```python\nprint(open('file').read())\n```\n\n```text\n1\n```\n"
    page_of(tmp_path, text).read()
    assert blocks(tmp_path / "page.md")[1] == Block("python", 6, "print(open('file').read())\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\necho 1; false\n```\n", r"page.md:2: status 1\n1"),
        ("\n```sh\necho 1\n```\n```text\n2\n```\n", r"page.md:6: it printed\n1"),
        ("```sh server\necho no server\n```\n", r"page.md:2: the server does not answer\nno server"),
    ],
)
def test_what_is_not_so_fails(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        page_of(tmp_path, text).read()
