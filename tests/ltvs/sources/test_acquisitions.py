"""Which slices of a series make the volume that a segmentation shows."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from ltvs.runtime.errors import InputError
from ltvs.sources.acquisitions import CTSlice, is_one_volume, select_acquisition

AXIAL = (1.0, 0, 0, 0, 1.0, 0)


def stack(positions: list[float], number: str = "1", time: str = "", orientation: tuple = AXIAL) -> list[CTSlice]:
    """Slices at these positions along z; their instances are named by acquisition and place."""
    return [
        CTSlice(Path("series") / f"{number}-{time}-{k}", f"{number}-{time}-{k}", (number, time), (5, 6, z), orientation)
        for k, z in enumerate(positions)
    ]


EVEN = [0, 2.5, 5, 7.5, 10]


@pytest.mark.parametrize(
    ("slices", "one"),
    [
        (stack(EVEN), True),
        (stack(EVEN[::-1]), True),
        (stack([0]), True),
        (stack([0, 2.5, 5.1]), True),
        (stack([0, 2.5, 5.6]), False),
        (stack([0, 2.5, 2.5]), False),
        (stack([0, 2.5, 7.5]), False),
        (stack(EVEN) + stack([12.5], "2"), True),
        (stack(EVEN) + stack([z + 1.25 for z in EVEN], "2"), False),
        (stack(EVEN) + stack([z + 1.25 for z in EVEN], "1", "120500"), False),
        (stack(EVEN) + stack([12.5], orientation=(0, 1.0, 0, 1.0, 0, 0)), False),
        ([], False),
    ],
)
def test_one_volume(slices: list[CTSlice], one: bool) -> None:
    assert is_one_volume(slices) == one


def test_places_are_measured_along_the_normal() -> None:
    tilted = (1.0, 0, 0, 0, float(np.cos(0.4)), float(np.sin(0.4)))
    normal = np.cross(tilted[:3], tilted[3:])
    slices = [CTSlice(Path("a"), str(k), ("", ""), tuple(3 * k * normal), tilted) for k in range(4)]
    assert is_one_volume(slices)


@pytest.mark.parametrize(
    "other",
    [
        stack(EVEN, "2"),
        stack([z + 1.25 for z in EVEN], "2"),
        stack([20, 21, 22], "2"),
        stack(EVEN, "1", "120500"),
        stack(EVEN, "2") + stack(EVEN, "3"),
    ],
)
def test_the_acquisition_that_is_referred_to(other: list[CTSlice]) -> None:
    """Wherever the others lie: a reference to a few slices means all of their acquisition."""
    meant = stack(EVEN)
    assert select_acquisition([*other, *meant], {meant[1].instance, meant[2].instance, "of another series"}) == meant


def test_an_acquisition_in_parts_with_numbers_of_their_own() -> None:
    low, high = stack([0, 2.5], "1"), stack([5, 7.5], "2")
    assert select_acquisition([*low, *high], set()) == [*low, *high]
    copy = stack([0, 2.5, 5, 7.5], "3")
    assert select_acquisition([*low, *high, *copy], {"1--1", "2--0"}) == [*low, *high]


def test_without_numbers_and_times_only_what_is_referred_to_is_taken() -> None:
    first = [CTSlice(Path("a"), f"a{k}", ("", ""), (0, 0, z), AXIAL) for k, z in enumerate(EVEN)]
    second = [CTSlice(Path("b"), f"b{k}", ("", ""), (0, 0, z), AXIAL) for k, z in enumerate(EVEN)]
    assert select_acquisition([*first, *second], {"b1", "b2", "b3"}) == second[1:4]


def test_what_is_referred_to_is_no_volume_if_slices_lie_between() -> None:
    slices = [CTSlice(Path("a"), f"a{k}", ("", ""), (0, 0, z), AXIAL) for k, z in enumerate([0, 1, 2, 3, 3.4, 4])]
    with pytest.raises(InputError, match="the segmentation does not say which"):
        select_acquisition(slices, {"a0", "a2", "a5"})


@pytest.mark.parametrize("referenced", [set(), {"1--0", "2--0"}])
def test_what_cannot_be_told_is_an_error(referenced: set[str]) -> None:
    with pytest.raises(InputError, match=r"got 10 in 2 acquisition\(s\) \(1, 2\), and the segmentation does not say"):
        select_acquisition(stack(EVEN) + stack(EVEN, "2"), referenced)


def test_a_missing_slice_is_an_error() -> None:
    with pytest.raises(InputError, match=r"got 4 in 1 acquisition\(s\) \(unnumbered\).* is a slice missing"):
        select_acquisition(stack([0, 2, 6, 8], ""), {"--0", "--3"})


def header(**texts: str) -> pydicom.Dataset:
    """A header of a slice with these texts in it, whatever they say."""
    made = pydicom.Dataset()
    made.SOPInstanceUID = "1.2.3"
    usual = {"ImagePositionPatient": "1\\2\\3", "ImageOrientationPatient": "1\\0\\0\\0\\1\\0"}
    for name, text in (usual | texts).items():
        made[name] = RawDataElement(Tag(name), "DS", len(text), text.encode(), 0, False, True)
    return made


def test_a_slice_from_its_header() -> None:
    one = CTSlice.of(Path("x"), header(ImagePositionPatient="1,5\\2\\-3e1"))
    assert one == CTSlice(Path("x"), "1.2.3", ("", ""), (1.5, 2.0, -30.0), AXIAL)


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("text", ["", "1\\2", "1\\2\\nan", "a\\b\\c", "1\\2\\3\\4", "1\\0\\0\\0\\1\\inf"])
def test_a_slice_whose_header_makes_no_sense(name: str, text: str) -> None:
    message = f"x: expected (a CT slice with its position and orientation, found none|{name} of . finite numbers, got)"
    with pytest.raises(InputError, match=message):
        CTSlice.of(Path("x"), header(**{name: text}))
