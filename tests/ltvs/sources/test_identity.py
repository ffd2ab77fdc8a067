"""Patients that two public cohorts share: told apart by name, never in one data set."""

import doctest

import pytest

import ltvs.sources.identity
from ltvs.runtime.errors import InputError
from ltvs.sources.identity import check_apart, overlap_warning, patient_of, shared_with_ircadb

EVERYBODY = [f"lits-{number:03d}" for number in range(131)]
IRCADB = [f"ircadb-{number:02d}" for number in range(1, 21)]


def same(patients: list[str]) -> dict[str, str]:
    """Cases named like their patients."""
    return dict(zip(patients, patients, strict=True))


def test_the_examples_in_the_docstring() -> None:
    failed, tried = doctest.testmod(ltvs.sources.identity)
    assert (failed, tried) == (0, 1)


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("lits-007", "lits-007"),
        ("msd03-007", "lits-007"),
        ("Volume-7", "lits-007"),
        ("liver_130", "lits-130"),
        ("ircadb-09", "ircadb-09"),
        ("3Dircadb1.12", "ircadb-12"),
        ("hepaticvessel_007", "hepaticvessel_007"),
        ("my-volume-7", "my-volume-7"),
        ("liver_7_b", "liver_7_b"),
    ],
)
def test_whom_a_name_stands_for(case: str, patient: str) -> None:
    assert patient_of(case) == patient


def test_28_to_48_are_shared_and_no_others() -> None:
    assert shared_with_ircadb(same(EVERYBODY)) == [f"lits-{number:03d}" for number in range(28, 49)]
    assert shared_with_ircadb(same(IRCADB)) == []


def test_the_warning_names_itself_and_the_cases() -> None:
    """By the names that --leave-out takes, which are not the patients' where one set has the cases of another."""
    warning = overlap_warning({f"msd03-0{number}": f"lits-0{number}" for number in (27, 48, 28, 49)})
    assert warning is not None
    assert warning.startswith("LiTS 28-48: these include the patients of 3D-IRCADb-01")
    assert warning.endswith(": msd03-028, msd03-048")
    assert "--leave-out" in warning
    assert overlap_warning(same(["lits-027", "lits-049", *IRCADB])) is None


@pytest.mark.parametrize("fine", [EVERYBODY, IRCADB, [*IRCADB, "lits-027", "lits-049", "crlm-1028"], []])
def test_one_of_the_two_cohorts_is_fine(fine: list[str]) -> None:
    check_apart(same(fine))


@pytest.mark.parametrize("shared", ["lits-028", "lits-048"])
def test_both_are_refused(shared: str) -> None:
    with pytest.raises(InputError, match=r"LiTS 28-48: .* got liver beside 3Dircadb1\.20; leave out one or the other"):
        check_apart({"3Dircadb1.20": "ircadb-20", "a": "a", "liver": shared})
