"""The split: the paper's counts, no patient in two parts, decided by seed and names alone; folds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltvs.dataset.layout import PARTS
from ltvs.dataset.splits import fold_patients, split_patients
from ltvs.runtime.errors import InputError


def names(count: int) -> list[str]:
    return [f"case-{i}" for i in range(count)]


def alone(count: int) -> dict[str, str]:
    """Each case a patient of its own."""
    return {name: f"patient of {name}" for name in names(count)}


def shared(sizes: tuple[int, ...]) -> dict[str, str]:
    """Patients with so many cases each, whose names say nothing of whose they are."""
    owners = [f"patient-{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return {f"case-{hash_of(i)}": owner for i, owner in enumerate(owners)}


def hash_of(i: int) -> str:
    return f"{i * 7919 % 1009:04d}"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(52, (37, 5, 10)), (20, (14, 2, 4)), (10, (7, 1, 2)), (4, (2, 1, 1)), (3, (1, 1, 1)), (131, (92, 13, 26))],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_seven_to_one_to_two(count: int, expected: tuple[int, int, int], seed: int) -> None:
    split = split_patients(alone(count), seed)
    assert tuple(len(split[part]) for part in PARTS) == expected
    assert sorted(name for part in PARTS for name in split[part]) == sorted(names(count))


def test_seed_and_names_decide() -> None:
    split = split_patients(alone(30), 5)
    assert split == split_patients(dict(reversed(alone(30).items())), 5)
    assert split != split_patients(alone(30), 6)
    assert split == split_patients({name: name[::-1] for name in names(30)}, 5), "ids of patients must not decide"
    assert split["test"] != sorted(names(30))[:6], "the order of the names must not decide"


def test_counts_can_be_given() -> None:
    split = split_patients(alone(9), 0, validation=2, test=4)
    assert [len(split[part]) for part in PARTS] == [3, 2, 4]
    assert split_patients(alone(2), 0, validation=1, test=0)["test"] == []


@pytest.mark.parametrize("count", [1, 2])
def test_with_fewer_than_three_patients_all_are_in_every_part(count: int) -> None:
    assert split_patients(alone(count), 0) == {part: names(count) for part in PARTS}


@pytest.mark.parametrize(
    ("count", "validation", "test", "message"),
    [
        (5, 2, 3, "--validation 2 --test 3: expected to leave one or more of 5 patients to train on"),
        (2, None, 1, "--validation 1 --test 1: expected to leave one or more of 2 patients"),
        (5, 0, 1, "--validation 0 --test 1: expected 1 or more for validation"),
        (5, 1, -1, "--validation 1 --test -1: expected 1 or more for validation and 0 or more for the test"),
    ],
)
def test_counts_that_cannot_be(count: int, validation: int | None, test: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_patients(alone(count), 0, validation, test)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=30).map(tuple), st.integers(0, 99), st.integers(2, 7))
def test_no_patient_is_in_two_parts_and_no_case_is_lost(sizes: tuple[int, ...], seed: int, folds: int) -> None:
    patients = shared(sizes)
    splits = [split_patients(patients, seed)]
    if folds <= len(sizes) > 3:
        splits += fold_patients(patients, seed, folds)
    for split in splits:
        assert sorted(name for part in PARTS for name in split[part]) == sorted(patients)
        owners = [{patients[name] for name in split[part]} for part in PARTS]
        assert all(owners), "a part is empty"
        assert sum(map(len, owners)) == len(set.union(*owners))
    tested = [name for split in splits[1:] for name in split["test"]]
    assert sorted(tested) == (sorted(patients) if splits[1:] else []), "each case is tested once"


def test_patients_are_counted_not_cases() -> None:
    patients = shared((5, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    for seed in range(10):
        split = split_patients(patients, seed)
        assert [len({patients[name] for name in split[part]}) for part in PARTS] == [7, 1, 2]


def test_five_folds_have_seven_to_one_to_two_each() -> None:
    folds = fold_patients(alone(50), 3, 5)
    assert [[len(fold[part]) for part in PARTS] for fold in folds] == [[35, 5, 10]] * 5
    assert len({tuple(fold["validation"]) for fold in folds}) == 5
    assert folds == fold_patients(dict(reversed(alone(50).items())), 3, 5)
    assert folds != fold_patients(alone(50), 4, 5)


@pytest.mark.parametrize(("count", "folds"), [(9, 1), (4, 5), (2, 2), (3, 2)])
def test_folds_that_cannot_be(count: int, folds: int) -> None:
    message = f"--folds {folds}: expected 2 or more, no more than the {count} patients, and two of them outside each"
    with pytest.raises(InputError, match=message):
        fold_patients(alone(count), 0, folds)
