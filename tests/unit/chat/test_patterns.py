"""Patterns of schemas as the grammar takes them."""

from __future__ import annotations

import re

import pytest

from rustllm.chat.syntax.patterns import FORMATS, MAX_PATTERN, whole


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[A-Z]{2}-\\d+$", ["AB-1", "XY-007"], ["AB-", "xAB-1", "AB-1x"]),
        ("cat|dog", ["a cat", "dogs\n"], ["cow"]),
        ("^a", ["a", "ab"], ["ba"]),
        ("b$", ["b", "ab"], ["ba"]),
        ("^(a|b)+?c{1,2}?$", ["ac", "babcc"], ["c", "acccc"]),
        ("^[^/\\d]+/[&~\\w[]*$", ["a/", "-/x_&[~"], ["1/", "a/-"]),
        ("^\\D\\/\\.x$", ["a/.x"], ["1/.x", "a/yx"]),
        ("^[]$", [], []),
        ("", ["", "anything"], []),
    ],
)
def test_whole_texts_match_as_the_pattern_says(pattern: str, good: list[str], bad: list[str]) -> None:
    expression = whole(pattern)
    if not good:
        assert expression is None
        return
    assert expression is not None
    found = re.compile(expression)
    assert [text for text in good if not found.fullmatch(text)] == []
    assert [text for text in bad if found.fullmatch(text)] == []


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)b", "(?<!a)b", "a^b", "a$b", "^a|b", "a|b$", "\\bword", "(a)\\1", "\\p{L}", "x" * (MAX_PATTERN + 1)],
)
def test_what_the_grammar_cannot_say_is_told(pattern: str) -> None:
    assert whole(pattern) is None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z"),
        ("time", "23:59:59.5+01:00", "24:00:00Z"),
        ("ipv4", "255.0.10.1", "256.0.0.1"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("hostname", "a-b.example", "-a.example"),
        ("email", "a.b@c.example", "a@b@c"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert re.fullmatch(FORMATS[name], good)
    assert not re.fullmatch(FORMATS[name], bad)
