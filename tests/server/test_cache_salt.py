"""Who shares what the cache holds: prompts of one salt, and with `--cache-per-key` those of one key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import Server, assert_error, running

TEXT = "Once upon a time there was a little dog who loved to play with a big red ball in the park. " * 3
KEYS = "key-of-alice name=alice\nkey-of-bob name=bob\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "2048", "-np", "2")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("salted")
    (folder / "keys").write_text(KEYS)
    flags = ("--api-key-file", str(folder / "keys"), "--cache-per-key", "--slot-save-path", str(folder))
    yield from running("-c", "2048", "-np", "2", *flags)


def cached(server: Server, key: str | None = None, prompt: str = TEXT, **fields: object) -> int:
    """Tokens of a prompt that came from the cache."""
    headers = {} if key is None else {"authorization": f"Bearer key-of-{key}"}
    answer = server.post("/completion", {"prompt": prompt, "n_predict": 1, **fields}, headers=headers)
    assert answer.status == 200, answer.body
    n = answer.body["timings"]["cache_n"]
    assert isinstance(n, int)
    return n


def test_salts_keep_prompts_apart(server: Server) -> None:
    for fields in ({}, {"cache_salt": "a"}, {"cache_salt": "b"}):
        assert cached(server, **fields) == 0, fields
        assert cached(server, **fields) > 50, fields
        # One that goes on differently shares the start.
        assert cached(server, prompt=TEXT + "The end", **fields) > 50, fields


def test_chats_have_salts_too(server: Server) -> None:
    def tokens(salt: str) -> int:
        answer = server.chat(TEXT * 2, max_tokens=1, cache_salt=salt)
        return int(answer.body["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert (tokens("c"), tokens("d")) == (0, 0)
    assert tokens("c") > 100


def test_a_salt_is_told_to_nobody(server: Server) -> None:
    answer = server.post("/completion", {"prompt": "x", "n_predict": 1, "cache_salt": "very-secret", "verbose": True})
    assert "very-secret" not in str(answer.body)


@pytest.mark.parametrize("salt", [5, ["a"], "s" * 1025, {"a": 1}])
def test_what_is_no_salt_is_refused(server: Server, salt: object) -> None:
    answer = server.post("/completion", {"prompt": "x", "n_predict": 1, "cache_salt": salt})
    assert_error(answer, 400)
    assert "cache_salt" in answer.body["error"]["message"]


def test_keys_share_nothing_where_that_is_asked_for(keyed: Server) -> None:
    assert cached(keyed, "alice") == 0
    assert cached(keyed, "bob") == 0
    assert cached(keyed, "alice") > 50
    # A salt of one's own adds to the key, it does not stand for another's.
    assert cached(keyed, "bob", cache_salt="") > 50
    for salt in ("alice", "alice ", "bob", "x"):
        assert cached(keyed, "bob", cache_salt=salt) == 0, salt
    assert cached(keyed, "bob", cache_salt="x") > 50


def test_a_restored_slot_is_its_key_s(keyed: Server) -> None:
    def act(action: str, key: str) -> int:
        headers = {"authorization": f"Bearer key-of-{key}"}
        return keyed.post(f"/slots/1?action={action}", {"filename": "story"}, headers=headers).status

    text = "The cat sat on the mat and looked at the moon. " * 4
    # Of the prompts before, these share the first token alone.
    assert cached(keyed, "alice", text, id_slot=1) < 3
    assert act("save", "alice") == 200
    assert act("erase", "alice") == 200
    assert cached(keyed, "alice", text, id_slot=0) < 3
    assert act("restore", "bob") == 200
    assert cached(keyed, "bob", text) > 30
