"""Phantoms: decided by the seed, in the real case's bounds, with masks that belong to them."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from ltvs.phantom import make_phantom
from ltvs.phantom.canvas import Canvas, Region, ellipsoid, waves
from ltvs.phantom.lesions import FreePlaces
from ltvs.phantom.noise import blur_and_add_noise
from ltvs.phantom.tumors import make_tumors
from ltvs.phantom.vessel_tree import grow_tree, spread_points, tree_region, tube
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


def canvas(voxel: float = 1.0, size: tuple[int, int, int] = (60, 52, 44)) -> Canvas:
    x, y, z = (((np.arange(n) - (n - 1) / 2) * voxel).astype(np.float32) for n in size)
    return Canvas(x, y, z)


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
    # As in the real case, where two thirds of the labeled vessels lie outside.
    for case in phantoms:
        _, liver, vessel, _ = arrays(case)
        assert 0.3 < (vessel & ~liver).sum() / vessel.sum() < 0.8


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


def test_noise_has_the_deviation_and_correlation_of_a_ct() -> None:
    values = blur_and_add_noise(np.full((40, 110, 96), 100, dtype=np.float32), 20.0, np.random.default_rng(0)) - 100
    # Of 400 000 correlated values the deviation is known to about 0.3 %.
    assert values.std() == pytest.approx(20, rel=0.02)
    assert abs(values.mean()) < 0.5

    def alike(axis: int, gap: int) -> float:
        first, second = np.delete(values, range(gap), axis), np.delete(values, range(-gap, 0), axis)
        return float((first * second).mean() / values.var())

    assert 0.25 < alike(2, 1) < 0.55
    assert 0.25 < alike(1, 1) < 0.55
    assert 0.1 < alike(0, 1) < 0.4
    assert abs(alike(2, 9)) < 0.03


def test_one_to_five_tumors_apart_from_each_other() -> None:
    volume = canvas(voxel=4.0)
    liver = volume.region(ellipsoid((0, 0, 0), (95, 85, 75)))
    counts = []
    for seed in range(12):
        places, rng = FreePlaces(volume, liver, []), np.random.default_rng(seed)
        tumors = make_tumors(places, waves(rng, 1.0, 50.0), 1.0, rng)
        counts.append(len(tumors))
        assert len(places.taken) == len(tumors)
        for i, (center, radius) in enumerate(places.taken):
            assert all(np.linalg.norm(center - c) > radius + r for c, r in places.taken[:i])
    assert set(counts) <= {1, 2, 3, 4, 5}
    assert len(set(counts)) > 2


def test_no_tumor_where_none_fits() -> None:
    volume = canvas()
    liver = volume.region(ellipsoid((0, 0, 0), (3, 3, 3)))
    rng = np.random.default_rng(0)
    assert make_tumors(FreePlaces(volume, liver, []), waves(rng, 1.0, 50.0), 1.0, rng) == []


def test_a_tree_is_connected_tapers_and_reaches_its_targets() -> None:
    volume, rng = canvas(), np.random.default_rng(3)
    inside = volume.region(ellipsoid((0, 0, 0), (26, 22, 18)))
    trunk = np.array([(-28, 0, 0), (-20, 1, 0), (-12, 1, 1), (-4, 0, 2)], dtype=float)
    targets = spread_points(inside.level > 1, volume, inside.box, 24, 7.0, rng)
    assert np.linalg.norm(targets[:, None] - targets[None], axis=-1)[~np.eye(len(targets), dtype=bool)].min() > 7
    tree = grow_tree(trunk, targets, 1.0, 4.0, rng)
    assert (tree.parents[1:] < np.arange(1, len(tree.parents))).all()
    assert (tree.radii[1:] <= tree.radii[tree.parents[1:]] + 1e-9).all()
    assert 1.0 <= tree.radii.min() < 1.2
    assert tree.radii.max() <= 4.0
    # Ends keep their place but for the jitter of 0.8 mm in each direction.
    ends = np.setdiff1d(np.arange(len(tree.parents)), tree.parents)
    gaps = np.linalg.norm(targets[:, None] - tree.points[ends][None], axis=-1).min(axis=0)
    assert len(ends) > 8
    assert gaps.max() < 4
    filled = np.zeros(volume.hu.shape, dtype=bool)
    box, level = tree_region(volume, [tree])
    filled[box] = level > 0
    # A radius of 1 mm is more than half the diagonal of a voxel, so no branch is broken.
    assert ndimage.label(filled, np.ones((3, 3, 3)))[1] == 1


def test_a_tube_is_as_thick_as_asked() -> None:
    volume = canvas()
    box, level = tree_region(volume, [tube(np.array([(-40.0, 0, 0), (40, 0, 0)]), 5.0)])
    assert level.max() == pytest.approx(5 - np.hypot(0.5, 0.5), abs=1e-4)  # the nearest voxels lie half a voxel off
    assert (level > 0).sum() / 60 == pytest.approx(np.pi * 25, rel=0.05)
    assert box[2] == slice(0, 60)


def test_levels_are_mm_to_the_surface() -> None:
    x, y, z = np.float32([[[14.0]]]), np.float32([[[0.0]]]), np.float32([[[0.0]]])
    assert ellipsoid((2, 0, 0), (9, 9, 9))(x, y, z) == pytest.approx(-3)
    assert ellipsoid((2, 0, 0), (9, 30, 9), np.pi / 2)(y, x, z) < 0  # turned, the long axis lies along x
    assert ellipsoid((2, 0, 0), (9, 30, 9), np.pi / 2)(x, y, z) > 0


def test_waves_have_their_deviation_and_length() -> None:
    volume = canvas(size=(120, 110, 100))
    box = volume.box((-1e4,) * 3, (1e4,) * 3)
    field = waves(np.random.default_rng(1), 7.0, 12.0, count=40)(*volume.coordinates(box))
    assert field.shape == volume.hu.shape
    assert field.std() == pytest.approx(7, rel=0.1)
    # Its slope is that of waves of 12 mm, of which a third lies along each axis: 7 * 2 pi / 12 / sqrt(3) per mm.
    slope = np.diff(field, axis=2).std()
    assert slope == pytest.approx(7 * 2 * np.pi / 12 / np.sqrt(3), rel=0.2)


def test_a_voxel_at_a_surface_is_part_of_both() -> None:
    volume = canvas()
    volume.blend(Region(volume.box((-1e4,) * 3, (1e4,) * 3), volume.coordinates((slice(None),) * 3)[0] + 0.5), 40.0)
    # Voxel centers at -1.5, -0.5, 0.5 mm; the surface lies at -0.5 mm.
    assert volume.hu[3, 4, 28:31].tolist() == pytest.approx([-1000, -480, 40])


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
