"""The words for how a file's weights are stored."""

from __future__ import annotations

import pytest

from rustllm.model_file import FileType, file_type, short_count


def found(number: object, **types: int) -> FileType:
    return file_type({} if number is None else {"general.file_type": number}, types)


@pytest.mark.parametrize(
    ("number", "name", "described"),
    [
        (0, "F32", "all F32"),
        (1, "F16", "F16"),
        (3, "Q4_1", "Q4_1"),
        (10, "Q2_K", "Q2_K - Medium"),
        (14, "Q4_K_S", "Q4_K - Small"),
        (15, "Q4_K_M", "Q4_K - Medium"),
        (13, "Q3_K_L", "Q3_K - Large"),
        (18, "Q6_K", "Q6_K"),
    ],
)
def test_what_the_file_says(number: int, name: str, described: str) -> None:
    kind = found(number, F32=1)
    assert (kind.name, kind.described) == (name, described)


@pytest.mark.parametrize("number", [None, 999, "Q4_0", [1]])
def test_the_commonest_type_where_the_file_says_nothing_known(number: object) -> None:
    kind = found(number, F32=9, Q5_0=40, Q8_0=1)
    assert (kind.name, kind.described) == ("Q5_0", "Q5_0 (guessed)")


@pytest.mark.parametrize(
    ("n", "text"),
    [(292_800, "292.80K"), (134_515_008, "134.52M"), (1_100_048_384, "1.1B"), (70_553_706_496, "70.6B"), (7, "7")],
)
def test_counts_in_short(n: int, text: str) -> None:
    assert short_count(n) == text
