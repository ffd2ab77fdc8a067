"""From a CT to labels in its own grid, with networks whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import ltvs.model.pipeline
from ltvs.dataset.one_case import compose_labels
from ltvs.model.pipeline import Pipeline, largest_body
from ltvs.runtime.errors import InputError
from ltvs.volume.images import same_grid
from ltvs.volume.labels import TUMOR, VESSEL
from support.known_networks import PATCH, PREPARATION, hu_of, known_stages
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, tiny_case


@pytest.fixture
def known_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = known_stages(PREPARATION, PATCH)
    monkeypatch.setattr(ltvs.model.pipeline, "load_stage", lambda run, stage: stages[stage])


def painted(direction: np.ndarray = SIGNED_PERMUTATIONS[0]) -> tuple[sitk.Image, sitk.Image]:
    """A CT in which every label has its own HU, and the labels."""
    labels = compose_labels(tiny_case(direction=direction))
    ct = sitk.GetImageFromArray(hu_of(sitk.GetArrayViewFromImage(labels)))
    ct.CopyInformation(labels)
    return ct, labels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("direction", [*SIGNED_PERMUTATIONS[::7], *OBLIQUE])
@pytest.mark.usefixtures("known_networks")
def test_what_the_networks_find_comes_back_in_place(direction: np.ndarray) -> None:
    ct, labels = painted(direction)
    predicted = Pipeline.load(Path("run"), "cpu").label(ct)
    assert same_grid(predicted, ct)
    assert predicted.GetPixelID() == sitk.sitkUInt8
    found, truth = sitk.GetArrayFromImage(predicted), sitk.GetArrayFromImage(labels)
    for mask, expected in (
        (found > 0, truth > 0),
        (found == TUMOR, truth == TUMOR),
        (found == VESSEL, truth == VESSEL),
    ):
        # The vessel also gets the blurred rim of the tumor; the overlap is best in place, not a voxel beside it.
        overlap = dice(mask, expected)
        assert overlap > 0.8
        assert overlap > max(dice(mask, np.roll(expected, step, axis)) for axis in range(3) for step in (-1, 1))


@pytest.mark.usefixtures("known_networks")
def test_what_lies_apart_from_the_liver_is_left_out() -> None:
    ct, labels = painted()
    hu = sitk.GetArrayFromImage(ct)
    hu[:3, :4, :5] = 150
    spleen = sitk.GetImageFromArray(hu)
    spleen.CopyInformation(ct)
    predicted = sitk.GetArrayFromImage(Pipeline.load(Path("run"), "cpu").label(spleen))
    assert not predicted[:3, :4, :5].any()
    assert dice(predicted > 0, sitk.GetArrayFromImage(labels) > 0) > 0.97


@pytest.mark.usefixtures("known_networks")
def test_a_ct_without_liver() -> None:
    ct = sitk.GetImageFromArray(np.full((9, 10, 11), -80, dtype=np.int16))
    with pytest.raises(InputError, match="stage 1 finds no liver in this CT"):
        Pipeline.load(Path("run"), "cpu").label(ct)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1))
def test_the_largest_body_is_one_and_solid(seed: int, size: tuple[int, int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(size) < share
    body = largest_body(mask)
    parts, count = ndimage.label(mask)
    assert ndimage.label(body)[1] == min(count, 1)
    if count:
        largest = np.bincount(parts[mask]).max()
        assert (body & mask).sum() >= largest
    np.testing.assert_array_equal(ndimage.binary_fill_holes(body), body)


def test_holes_are_filled_and_the_smaller_body_goes() -> None:
    mask = np.zeros((7, 8, 9), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False
    mask[1:3, 7, 7:] = True
    body = largest_body(mask)
    assert body[3, 3, 3]
    assert body.sum() == 125
