"""Phantoms: decided by the seed, in the real case's bounds, with masks that belong to them."""

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.phantom.cohort import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import same_grid
from support.tiny_cases import image


@pytest.fixture(scope="session")
def thin() -> dict[int, Case]:
    """Few pixels, but slices as drawn."""
    return {seed: make_phantom(seed, matrix=64) for seed in (1, 2)}


def arrays(case: Case) -> tuple[np.ndarray, ...]:
    """CT, liver, vessel, tumor."""
    return tuple(sitk.GetArrayFromImage(volume) for volume in (case.ct, case.liver, case.vessel, case.tumor))


def test_the_seed_decides_everything(thin: dict[int, Case]) -> None:
    for again, first in zip(arrays(make_phantom(1, matrix=64)), arrays(thin[1]), strict=True):
        assert again.tobytes() == first.tobytes()
    assert thin[1].name == "phantom-0001"
    assert thin[1].ct.GetSpacing() != thin[2].ct.GetSpacing()
    slices = min(case.ct.GetSize()[2] for case in thin.values())
    assert not np.array_equal(arrays(thin[1])[0][:slices], arrays(thin[2])[0][:slices])


def test_spacings_are_those_of_the_paper(thin: dict[int, Case]) -> None:
    for case in thin.values():
        x, y, z = case.ct.GetSpacing()
        assert x == y
        assert 0.62 <= x * 64 / 512 <= 0.82
        assert 0.8 <= z <= 2.0


def test_masks_lie_on_the_grid_of_the_ct(phantoms: list[Case]) -> None:
    for case in phantoms:
        assert case.ct.GetPixelID() == sitk.sitkInt16
        assert case.ct.GetSize()[:2] == (128, 128)
        assert case.ct.GetSpacing()[2] == 3.0
        for mask in (case.liver, case.vessel, case.tumor):
            assert same_grid(case.ct, mask)
            assert mask.GetPixelID() == sitk.sitkUInt8
            assert set(np.unique(sitk.GetArrayViewFromImage(mask))) == {0, 1}


def test_tumors_are_liver_and_no_vessel(phantoms: list[Case]) -> None:
    for case in phantoms:
        _, liver, vessel, tumor = arrays(case)
        assert not (tumor & ~liver).any()
        assert not (tumor & vessel).any()


def test_vessels_go_on_outside_the_liver(phantoms: list[Case]) -> None:
    # As in the real case, where two thirds of the labeled vessels lie outside; voxels of 3 mm lose the thinnest inside.
    for case in phantoms:
        _, liver, vessel, _ = arrays(case)
        assert 0.3 < (vessel & ~liver).sum() / vessel.sum() < 0.85


def test_contrasts_are_those_of_the_real_case(phantoms: list[Case]) -> None:
    """Real: liver 100, vessels 146, tumors 76 HU; phantoms vary around that as patients do."""
    means = []
    for case in phantoms:
        ct, liver, vessel, tumor = arrays(case)
        tissue = ct[(liver & ~vessel & ~tumor & 1) > 0].mean()
        blood, lesion = ct[(liver & vessel) > 0].mean(), ct[tumor > 0].mean()
        assert 82 < tissue < 118
        assert 25 < blood - tissue < 60
        assert -15 < tissue - lesion < 60  # a tumor may lie where the tissue is brighter or darker than on average
        means.append((tissue, blood, lesion))
    liver_hu, vessel_hu, tumor_hu = np.mean(means, axis=0)
    assert 90 < liver_hu < 110
    assert 130 < vessel_hu < 155
    assert 65 < tumor_hu < 90


def test_shares_of_the_liver_are_those_of_the_real_case(phantoms: list[Case]) -> None:
    for case in phantoms:
        _, liver, vessel, tumor = arrays(case)
        liters = liver.sum() * np.prod(case.ct.GetSpacing()) / 1e6
        assert 0.8 < liters < 2.5
        assert 0.01 < (vessel & liver).sum() / liver.sum() < 0.05  # real: 0.025
        assert 0.0005 < tumor.sum() / liver.sum() < 0.2  # real: 0.088


def test_a_slice_has_air_lung_fat_tissue_and_bone(phantoms: list[Case]) -> None:
    for case in phantoms:
        ct = arrays(case)[0]
        assert np.median(ct[:, :4]) == pytest.approx(-1000, abs=8)  # above the patient
        for low, high, share in ((-140, -60, 0.08), (20, 130, 0.1), (250, 1000, 0.001)):
            assert ((ct > low) & (ct < high)).mean() > share
        assert ((ct[-1] > -950) & (ct[-1] < -700)).mean() > 0.1


def anatomy() -> sitk.Image:
    """A liver as large as two liters, with one vessel through it."""
    where = Grid((70, 76, 60), (2.2, 2.5, 3.0), (5.0, -9.0, 12.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    z, y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * d for n, d in ((60, 3.0), (76, 2.5), (70, 2.2))), indexing="ij"
    )
    liver = (x / 55) ** 2 + (y / 70) ** 2 + (z / 60) ** 2 < 1
    vessel = liver & (np.hypot(x + 8, y - 5) < 9)
    return image((liver + vessel.astype(np.uint8)).astype(np.uint8), where)


@pytest.fixture(scope="module")
def around() -> Case:
    return make_phantom(7, matrix=96, slice_spacing=3.0, anatomy=anatomy())


def test_a_phantom_around_a_given_liver_keeps_its_size_and_its_vessels(around: Case) -> None:
    labels = sitk.GetArrayFromImage(anatomy())
    ct, liver, vessel, tumor = arrays(around)
    voxel, given = np.prod(around.ct.GetSpacing()), np.prod(anatomy().GetSpacing())
    # A tenth may be cut off by wall and vena cava.
    assert 0.9 < liver.sum() * voxel / ((labels > 0).sum() * given) < 1.03
    inside = vessel & liver & ~tumor
    # What the tumors take from the vessel is not known, so the radius is measured where the vessel is whole.
    rows = inside.sum(axis=(1, 2)) * voxel / 3.0
    assert np.percentile(rows, 90) == pytest.approx(np.pi * 81, rel=0.15)
    assert tumor.any()
    assert not (tumor & ~liver).any()
    assert (vessel & ~liver).any()
    assert ct[inside > 0].mean() > ct[(liver & ~vessel & ~tumor & 1) > 0].mean() + 25


def test_a_given_liver_may_lie_in_any_orientation(around: Case) -> None:
    turned = make_phantom(7, matrix=96, slice_spacing=3.0, anatomy=sitk.DICOMOrient(anatomy(), "PIR"))
    for one, other in zip(arrays(around), arrays(turned), strict=True):
        assert np.array_equal(one, other)


def test_a_liver_of_thick_slices_is_as_sharp_as_one_of_thin(around: Case) -> None:
    def dark(case: Case) -> float:
        """The share of a liver below 40 HU: its surface, and cysts."""
        ct, liver, _, _ = arrays(case)
        return float((ct[liver > 0] < 40).mean())

    # Both have the surface of one liver; distances counted in slices made it 1.8 times as much.
    thick = make_phantom(7, matrix=96, slice_spacing=3.0, anatomy=anatomy()[:, :, ::4])
    assert dark(thick) < 1.5 * dark(around)


@pytest.mark.parametrize("highest", [0, 1])
def test_a_given_liver_needs_vessels(highest: int) -> None:
    with pytest.raises(InputError, match="anatomy: expected a label map with liver above 0 and vessels 2; got none"):
        make_phantom(0, matrix=64, anatomy=sitk.Minimum(anatomy(), highest))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "phantom: expected a seed of 0 or more; got -1"),
        ({"seed": 0, "matrix": 63}, "phantom: expected a matrix of 64 or more; got 63"),
        ({"seed": 0, "slice_spacing": 0.0}, "phantom: expected a slice spacing above 0 mm; got 0"),
        ({"seed": 0, "slice_spacing": float("nan")}, "phantom: expected a slice spacing above 0 mm; got nan"),
    ],
)
def test_settings_that_make_no_phantom(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_phantom(**settings)
