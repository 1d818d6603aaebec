"""`POST /slots/{id}?action=...`: files that are whole or absent, and hostile ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustllm.server.native.slots.schemas import Erased, Restored, Saved
from tests.support.model_file import with_keys
from tests.support.server import Answer, Server, assert_error, running
from tests.support.slot_files import forge
from tests.support.strategies import BUDGET, FILE_NAMES

TEXT = "Once upon a time there was a little dog who loved to play with a big red ball in the park. " * 3
REQUEST = {"prompt": TEXT, "n_predict": 40, "temperature": 0.8, "seed": 11, "id_slot": 1, "n_probs": 3}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slots")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    yield from running("-c", "1024", "-np", "2", "--slot-save-path", str(directory))


def act(server: Server, action: str, filename: object = None, slot: object = 1) -> Answer:
    body = {} if filename is None else {"filename": filename}
    return server.post(f"/slots/{slot}?action={action}", body)


def n_prompt(server: Server) -> int:
    return len(server.post("/tokenize", {"content": TEXT, "add_special": True}).body["tokens"])


def answer(server: Server, **more: object) -> dict[str, object]:
    body = server.post("/completion", {**REQUEST, **more}).body
    return {"cache_n": body["timings"]["cache_n"], "text": body["content"], "probs": body["completion_probabilities"]}


# The embedded model's heads are too small for q8_0; the store's own test has it.
@pytest.mark.parametrize("cache", ["f16", "f32"])
def test_a_restored_slot_gives_the_same_bits(tmp_path: Path, cache: str) -> None:
    flags = ("-c", "1024", "-np", "2", "-ctk", cache, "-ctv", cache, "--slot-save-path", str(tmp_path))
    for one in running(*flags):
        first = answer(one)
        assert first["cache_n"] == 0
        saved = act(one, "save", "story.bin").body
        Saved.model_validate(saved, strict=True)
        # The last token drawn is not computed.
        assert (saved["id_slot"], saved["filename"], saved["n_saved"]) == (1, "story.bin", n_prompt(one) + 39)
        assert saved["n_written"] == (tmp_path / "story.bin").stat().st_size
        assert saved["timings"]["save_ms"] > 0
        assert os.listdir(tmp_path) == ["story.bin"]
    # Another process, so that nothing but the file can have kept it.
    for one in running(*flags):
        restored = act(one, "restore", "story.bin").body
        Restored.model_validate(restored, strict=True)
        assert (restored["n_restored"], restored["n_read"]) == (saved["n_saved"], saved["n_written"])
        second = answer(one)
        assert second["cache_n"] == n_prompt(one) - 1, "all but the token whose logits are wanted"
        assert second["text"] == first["text"]
        assert second["probs"] == first["probs"]
        # What was restored can be saved again, byte by byte.
        assert act(one, "save", "again.bin", slot=1).status == 200


def test_restored_bytes_are_saved_as_they_were(server: Server, directory: Path) -> None:
    answer(server)
    act(server, "save", "a.bin")
    act(server, "erase")
    act(server, "restore", "a.bin", slot=0)
    act(server, "save", "b.bin", slot=0)
    assert (directory / "a.bin").read_bytes() == (directory / "b.bin").read_bytes()


def test_erase_forgets_the_slot_and_only_the_slot(server: Server) -> None:
    other = {"prompt": TEXT[:60], "id_slot": 0}
    answer(server)
    answer(server, **other)
    erased = act(server, "erase").body
    Erased.model_validate(erased, strict=True)
    assert erased["id_slot"] == 1
    assert erased["n_erased"] > 100
    assert act(server, "erase").body["n_erased"] == 0
    left = answer(server, **other)["cache_n"]
    assert isinstance(left, int)
    assert left > 0
    assert answer(server)["cache_n"] < n_prompt(server) // 2, "only what the other slot has as well"


def test_an_empty_slot_can_be_saved(server: Server) -> None:
    act(server, "erase")
    assert act(server, "save", "empty.bin").body["n_saved"] == 0
    assert act(server, "restore", "empty.bin").body["n_restored"] == 0


def test_a_running_slot_is_waited_for(server: Server) -> None:
    body = {**REQUEST, "n_predict": 300, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", "/completion", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        saved = httpx.post(f"{server.url}/slots/1?action=save", json={"filename": "busy.bin"}, timeout=60).json()
        list(lines)
    assert saved["n_saved"] > 300


def test_broken_files_are_refused_and_change_nothing(server: Server, directory: Path) -> None:
    answer(server)
    act(server, "save", "good.bin")
    good = (directory / "good.bin").read_bytes()
    act(server, "erase")
    size = len(good)
    broken = {
        "empty": b"",
        "short": good[:39],
        "header": good[:40],
        "tokens": good[: 40 + 17],
        "blocks": good[: size // 2],
        "last": good[:-1],
        "long": good + b"\0",
        "magic": b"X" + good[1:],
        "version": good[:8] + b"\2" + good[9:],
        "types": good[:12] + b"\2\2" + good[14:],
        "model": good[:16] + bytes([good[16] ^ 1]) + good[17:],
        "block bytes": good[:24] + b"\xff" * 8 + good[32:],
        "many tokens": good[:32] + b"\xff" * 4 + good[36:],
        "few tokens": good[:32] + b"\1\0\0\0" + good[36:],
        "token": good[:40] + b"\xff\xff\0\0" + good[44:],
        "data": good[: size // 2] + bytes([good[size // 2] ^ 1]) + good[size // 2 + 1 :],
        "sum": good[:-1] + bytes([good[-1] ^ 1]),
        "text": b"not a slot at all" * 100,
    }
    for name, data in broken.items():
        (directory / "broken.bin").write_bytes(data)
        error = assert_error(act(server, "restore", "broken.bin"), 400, "filename")
        assert "broken.bin" in error["message"], name
        assert str(directory) not in error["message"]
    assert answer(server)["cache_n"] < n_prompt(server) // 2, "nothing of them was taken"
    act(server, "erase")
    (directory / "broken.bin").write_bytes(good)
    assert act(server, "restore", "broken.bin").status == 200


@given(data=st.data())
@BUDGET
def test_no_damage_goes_unseen(server: Server, directory: Path, data: st.DataObject) -> None:
    if not (directory / "whole.bin").exists():
        answer(server)
        act(server, "save", "whole.bin")
    whole = bytearray((directory / "whole.bin").read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        # Two bytes of the header mean nothing, but the checksum covers them too.
        whole[at] ^= data.draw(st.integers(1, 255))
    (directory / "damaged.bin").write_bytes(whole)
    assert_error(act(server, "restore", "damaged.bin"), 400, "filename")


def test_numbers_that_are_none_are_refused(server: Server, directory: Path) -> None:
    """They would reach every answer that begins with the same text."""
    want = answer(server)
    act(server, "save", "good.bin")
    act(server, "erase")
    forge(directory / "good.bin", directory / "forged.bin")
    error = assert_error(act(server, "restore", "forged.bin"), 400, "filename")
    assert "forged.bin: it has keys or values that are no numbers" in error["message"]
    again = answer(server)
    assert again["text"] == want["text"]
    assert again["cache_n"] < n_prompt(server) // 2, "nothing of it was taken"


def test_another_model_s_file_is_refused(directory: Path, server: Server, tmp_path: Path) -> None:
    answer(server)
    act(server, "save", "story.bin")
    other = tmp_path / "other.gguf"
    # The tensors are the same, one setting is not.
    other.write_bytes(with_keys({"llama.some_setting": 1}))
    for one in running("-m", str(other), "-c", "1024", "-np", "2", "--slot-save-path", str(directory)):
        error = assert_error(act(one, "restore", "story.bin"), 400, "filename")
        assert "another model" in error["message"]
    for one in running("-c", "1024", "-np", "2", "-ctk", "f32", "--slot-save-path", str(directory)):
        assert "cache types" in assert_error(act(one, "restore", "story.bin"), 400, "filename")["message"]
    for one in running("-c", "64", "-np", "1", "--slot-save-path", str(directory)):
        assert "64" in assert_error(act(one, "restore", "story.bin", slot=0), 400, "filename")["message"]


@pytest.mark.parametrize(
    "name",
    ["../../x", "..", ".", "", "a/b", "a\\b", "x" * 10_000, "\u00e4" * 128, "a\0b", "a\nb", ".hidden", "x.", " x", "x ",
     "C:x", "a*b", "\u202ex", 5, None, True, [], {"a": 1}],
)  # fmt: skip
def test_names_that_are_no_names(server: Server, directory: Path, name: object) -> None:
    before = sorted(os.listdir(directory.parent))
    for action in ("save", "restore"):
        assert_error(server.post(f"/slots/1?action={action}", {"filename": name}), 400, "filename")
    assert sorted(os.listdir(directory.parent)) == before


@given(name=FILE_NAMES)
@BUDGET
def test_no_name_leaves_the_directory(server: Server, directory: Path, name: str) -> None:
    outside = sorted(os.listdir(directory.parent))
    got = act(server, "save", name, slot=0)
    assert got.status in (200, 400), got.body
    if got.status == 200:
        assert (directory / name).is_file()
        assert (directory / name).resolve().parent == directory.resolve()
    assert sorted(os.listdir(directory.parent)) == outside


def test_what_is_no_file_is_not_opened(server: Server, directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    (directory / "folder").mkdir()
    (directory / "link").symlink_to("/etc/hostname")
    for name in ("pipe", "folder", "link", "absent"):
        assert_error(act(server, "restore", name), 400, "filename")


def test_slots_and_actions_that_are_none(server: Server) -> None:
    for slot in (2, -1, "x", "9" * 100, "1.0", "%00", "٣"):
        assert_error(act(server, "save", "x", slot=slot), 400, "id_slot")
    for action in ("", "what", "SAVE", "x" * 10_000):
        assert_error(act(server, action, "x"), 400, "action")
    assert_error(server.post("/slots/1", {"filename": "x"}), 400, "action")
    assert_error(server.post("/slots/1?action=save", content=b"{"), 400)


def test_a_directory_that_takes_nothing_is_an_error_of_the_server(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for one in running("-c", "256", "--slot-save-path", str(gone)):
        gone.rmdir()
        error = assert_error(act(one, "save", "x"), 500)
        assert str(tmp_path) not in error["message"]


def test_without_a_directory_it_is_501() -> None:
    for one in running("-c", "256"):
        assert "--slot-save-path" in assert_error(act(one, "save", "x"), 501)["message"]
        assert one.get("/slots?fail_on_no_slot=1").status == 200
