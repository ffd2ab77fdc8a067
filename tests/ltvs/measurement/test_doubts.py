"""Reasons to distrust the labels of a case."""

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.measurement import find_doubts
from ltvs.measurement.field_of_view import area_at_padding
from ltvs.runtime.errors import InputError

#: Voxels of 10 mm: a milliliter each.
SHAPE = (24, 30, 28)
LIVER = (slice(6, 16), slice(10, 20), slice(8, 23))


def case() -> tuple[np.ndarray, np.ndarray]:
    """Return HU and labels of a liver of 1500 ml in a body with lungs above it, in air; noise everywhere."""
    rng = np.random.default_rng(0)
    hu = np.full(SHAPE, -1000.0)
    hu[:, 4:26, 4:26] = 40
    hu[18:, 6:24, 6:24] = -850
    labels = np.zeros(SHAPE, np.uint8)
    labels[LIVER] = 1
    labels[8:14, 14, 9:14] = 2
    labels[10:13, 16:18, 16:19] = 3
    hu[labels > 0] = 110
    return np.clip(rng.normal(hu, 12), -1024, None), labels


def doubts(hu: np.ndarray, labels: np.ndarray, bodies: tuple[float, ...] = (1500.0,)) -> tuple[str, ...]:
    images = [sitk.GetImageFromArray(array) for array in (np.rint(hu).astype(np.int16), labels)]
    for image in images:
        image.SetSpacing((10, 10, 10))
    return find_doubts(images[0], images[1], bodies)


def tissue(labels: np.ndarray) -> np.ndarray:
    """Return HU of a liver in a body, with noise."""
    return np.rint(np.random.default_rng(2).normal(np.where(labels > 0, 110, 40), 12)).astype(np.int16)


def test_nothing_to_doubt() -> None:
    assert doubts(*case()) == ()
    assert doubts(*case(), ()) == ()


def test_nothing_is_labeled() -> None:
    hu, labels = case()
    assert doubts(hu, labels * 0) == ("No liver is labeled.",)


@pytest.mark.parametrize(("slices", "ml"), [(3, "450"), (25, "3,750")])
def test_volume(slices: int, ml: str) -> None:
    """A body of 40 slices more, so that even the larger liver does not reach its end."""
    hu, labels = (np.concatenate([array[:1].repeat(20, 0), array, array[-1:].repeat(20, 0)]) for array in case())
    labels[:] = 0
    labels[12 : 12 + slices, 10:20, 8:23] = 1
    labels[13, 14, 9:14] = 2
    hu[labels > 0] = 110
    assert doubts(hu, labels) == (f"The liver has a volume of {ml} ml, expected 600 to 3,500 ml.",)


@pytest.mark.parametrize("slices", [4, 24])
def test_bounds_of_the_volume_are_allowed(slices: int) -> None:
    """4 slices of 150 ml are 600 ml; 24 of them, without 100 ml that are cut away, 3500."""
    hu, labels = np.full((40, *SHAPE[1:]), 110.0), np.zeros((40, *SHAPE[1:]), np.uint8)
    labels[5 : 5 + slices, 10:20, 8:23] = 1
    if slices == 24:
        labels[5, 10:20, 8:18] = 0
    labels[6, 14, 9:14] = 2
    assert doubts(hu, labels) == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 1])
def test_cut_off_by_the_edge(axis: int, end: int) -> None:
    """The liver's first or last plane along an axis becomes that of the CT: 10 x 15 or 10 x 10 voxels of 1 cm²."""
    hu, labels = case()
    part = slice(LIVER[axis].start, None) if end == 0 else slice(None, LIVER[axis].stop)
    cut = tuple(part if k == axis else slice(None) for k in range(3))
    area = 100.0 if axis == 2 else 150.0
    said = f"The liver may be cut off: {area} cm² of its surface is at the edge of the CT."
    assert doubts(hu[cut], labels[cut]) == (said,)


@pytest.mark.parametrize(("voxels", "area"), [(4, "0.2"), (2, "0.1"), (1, None)])
def test_edges_of_voxels_that_are_no_cubes(voxels: int, area: str | None) -> None:
    """Voxels at the last plane along z have 2 mm along x and 2.5 mm along y: 0.05 cm². One alone is an accident."""
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[3:6, 3, 1 : 1 + voxels] = 1
    images = [sitk.GetImageFromArray(array) for array in ((labels * 110).astype(np.int16), labels)]
    for image in images:
        image.SetSpacing((2, 2.5, 50))
    said = [doubt for doubt in find_doubts(*images) if "cut off" in doubt]
    text = f"The liver may be cut off: {area} cm² of its surface is at the edge of the CT."
    assert said == ([] if area is None else [text])


@pytest.mark.parametrize("padding", [-1024, -2048, -3024, 0, 300])
def test_cut_off_by_padding(padding: int) -> None:
    """Beyond the liver's right end is padding: 10 x 10 voxels of 1 cm² look at it."""
    hu, labels = case()
    hu[:, :, 23:] = padding
    said = "The liver may be cut off: 100.0 cm² of its surface is at the padding of the field of view."
    assert doubts(hu, labels) == (said,)


@pytest.mark.parametrize(("off", "near"), [(3, True), (4, False)])
def test_labels_may_end_before_padding(off: int, near: bool) -> None:
    """The first voxel of padding is the third beyond the liver, 3 mm from its last one, or the fourth."""
    liver = np.zeros((25, 26, 40), np.uint8)
    liver[5:20, 5:20, 10:20] = 1
    ct = tissue(liver)
    ct[:, :, 19 + off :] = -2048
    assert area_at_padding(ct, liver, (1.0, 1.0, 1.0)) == (2.25 if near else 0)
    ct = tissue(liver)
    ct[:, : 6 - off] = -2048
    assert area_at_padding(ct, liver, (1.0, 1.0, 1.0)) == (1.5 if near else 0)


def test_little_at_padding_is_an_accident() -> None:
    """9 x 11 voxels of 1 mm² are less than 1 cm²."""
    labels = np.zeros((25, 26, 40), np.uint8)
    labels[5:14, 5:16, 10:20] = 1
    hu = tissue(labels)
    hu[:, :, 20:] = -2048
    said = " ".join(find_doubts(sitk.GetImageFromArray(hu), sitk.GetImageFromArray(labels)))
    assert "cut off" not in said


@pytest.mark.parametrize("value", [-1000, -1024])
def test_gas_beside_the_liver_is_no_padding(value: int) -> None:
    """Gas is clipped there at the CT's lowest value, but half of it has noise above that."""
    hu, labels = case()
    gas = np.random.default_rng(1).normal(value, 12, size=(10, 10, 5))
    hu[6:16, 10:20, 23:28] = gas
    assert doubts(np.clip(hu, value, None), labels) == ()


def test_a_clipped_ct_has_no_padding() -> None:
    """Lung beside the liver has the CT's lowest value throughout, as has the air around the body."""
    hu, labels = case()
    hu[16:] = -850
    assert doubts(np.clip(hu, -160, 240), labels) == ()


@pytest.mark.parametrize(
    ("bodies", "found"),
    [
        ((1500.0, 220.0), "2 large regions (1,500 and 220 ml)"),
        ((1500.0, 400.0, 151.0, 90.0), "3 large regions (1,500, 400 and 151 ml)"),
        ((1500.0, 149.0), None),
        ((400.0, 49.0), None),
        ((400.0, 50.0), "2 large regions (400 and 50 ml)"),
    ],
)
def test_bodies(bodies: tuple[float, ...], found: str | None) -> None:
    expected = () if found is None else (f"Stage 1 found {found}; only the largest is labeled as liver.",)
    assert doubts(*case(), bodies) == expected


@pytest.mark.parametrize(("tissue", "median"), [(55, "55"), (220, "220")])
def test_enhancement(tissue: int, median: str) -> None:
    """Vessels and tumors do not count."""
    hu, labels = case()
    hu[labels == 1] = tissue
    said = f"The liver has a median of {median} HU, expected 75 to 180 HU in the portal-venous phase."
    assert doubts(hu, labels) == (said,)


@pytest.mark.parametrize("tissue", [75, 180])
def test_bounds_of_enhancement_are_allowed(tissue: int) -> None:
    hu, labels = case()
    hu[labels == 1] = tissue
    assert doubts(hu, labels) == ()


def test_mostly_tumor() -> None:
    hu, labels = case()
    labels[10:14, 10:20, 8:23] = 3
    assert doubts(hu, labels) == ("Tumors make up 40% of the liver, expected at most 30%.",)
    labels[13, 10:20, 8:23] = 1
    assert doubts(hu, labels) == ()


def test_no_tissue_is_left() -> None:
    hu, labels = case()
    labels[LIVER] = 3
    said = "Tumors make up 100% of the liver, expected at most 30%.", "No vessels were found in the liver."
    assert doubts(hu, labels) == said


def test_another_grid() -> None:
    hu, labels = case()
    with pytest.raises(InputError, match=r"labels on the CT's grid, \(28, 30, 24\); got \(28, 30, 23\); give the CT"):
        doubts(hu, labels[:-1])
