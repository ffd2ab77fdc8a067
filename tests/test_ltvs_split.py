"""The split: the paper's counts, no case in two parts, decided by seed and names alone."""

import pytest

from ltvs.errors import InputError
from ltvs.prepared import PARTS
from ltvs.split import split_cases


def names(count: int) -> list[str]:
    return [f"case-{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(52, (37, 5, 10)), (20, (14, 2, 4)), (10, (7, 1, 2)), (4, (2, 1, 1)), (3, (1, 1, 1)), (131, (92, 13, 26))],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_seven_to_one_to_two(count: int, expected: tuple[int, int, int], seed: int) -> None:
    split = split_cases(names(count), seed)
    assert tuple(len(split[part]) for part in PARTS) == expected
    assert sorted(name for part in PARTS for name in split[part]) == sorted(names(count))


def test_seed_and_names_decide() -> None:
    split = split_cases(names(30), 5)
    assert split == split_cases(names(30)[::-1], 5)
    assert split != split_cases(names(30), 6)
    assert split["test"] != sorted(names(30))[:6], "the order of the names must not decide"


def test_counts_can_be_given() -> None:
    split = split_cases(names(9), 0, validation=2, test=4)
    assert [len(split[part]) for part in PARTS] == [3, 2, 4]
    assert split_cases(names(2), 0, validation=1, test=0)["test"] == []


@pytest.mark.parametrize("count", [1, 2])
def test_with_fewer_than_three_cases_all_are_in_every_part(count: int) -> None:
    assert split_cases(names(count), 0) == {part: names(count) for part in PARTS}


@pytest.mark.parametrize(
    ("count", "validation", "test", "message"),
    [
        (5, 2, 3, "--validation 2 --test 3: expected to leave one or more of 5 cases to train on"),
        (2, None, 1, "--validation 1 --test 1: expected to leave one or more of 2 cases"),
        (5, 0, 1, "--validation 0 --test 1: expected 1 or more for validation"),
        (5, 1, -1, "--validation 1 --test -1: expected 1 or more for validation and 0 or more for the test"),
    ],
)
def test_counts_that_cannot_be(count: int, validation: int | None, test: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_cases(names(count), 0, validation, test)
