"""Images and surfaces in a page lie where the CT has them, whatever its grid."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from ltvs.delivery.surfaces import Surface, structure_surfaces
from ltvs.page.embedded import HIGHEST, LOWEST, STEPS, affine_of, ct_bytes, label_bytes, surface_bytes
from ltvs.volume.grids import Grid
from support.closed_surfaces import volume
from support.decoded_page import LPS, labeled, read_mz3
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS

#: Of both handednesses, permuted and oblique.
DIRECTIONS = [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[9], SIGNED_PERMUTATIONS[22], *OBLIQUE]


def decoded(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(content)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_voxels_lie_where_the_ct_has_them(direction) -> None:
    ct, labels = labeled(direction)
    for content, whole in ((ct_bytes(ct, 2), ct), (label_bytes(labels), labels)):
        read = decoded(content)
        assert read.shape == whole.GetSize()
        assert nibabel.aff2axcodes(read.affine) == nibabel.aff2axcodes(affine_of(Grid.of(whole)))
        assert (read.header["sform_code"], read.header.get_xyzt_units()[0]) == (1, "mm")
        for index in ((0, 0, 0), (27, 0, 3), (5, 24, 20)):
            place = (LPS @ read.affine @ (*index, 1))[:3]
            # The header's affine is float32, of some hundred mm.
            np.testing.assert_allclose(place, whole.TransformIndexToPhysicalPoint(index), atol=1e-4)
            expected = max(whole[index], LOWEST) if whole is ct else whole[index]
            assert abs(read.dataobj[index] - expected) <= (1 if whole is ct else 0)


@given(seed=st.integers(0, 2**32 - 1), wildest=st.integers(1, 32767), step=st.sampled_from(STEPS))
def test_hu_are_kept_up_to_half_a_step(seed, wildest, step) -> None:
    hu = np.random.default_rng(seed).integers(-wildest, wildest, (2, 3, 4), endpoint=True).astype(np.int16)
    read = decoded(ct_bytes(sitk.GetImageFromArray(hu), step))
    assert read.get_data_dtype() == np.int16
    kept = np.asarray(read.dataobj).transpose(2, 1, 0)
    assert np.abs(kept - np.clip(hu, LOWEST, HIGHEST)).max() <= step / 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_surfaces_lie_on_the_labels(direction) -> None:
    _, labels = labeled(direction)
    grid = Grid.of(labels)
    read = decoded(label_bytes(labels))
    for name, values in (("liver", (1, 2, 3)), ("vessel", (2,)), ("tumor", (3,))):
        points, faces = read_mz3(surface_bytes(structure_surfaces(labels)[name]))
        inside = np.isin(np.asarray(read.dataobj), values)
        index = (np.linalg.inv(read.affine) @ np.column_stack([points, np.ones(len(points))]).T)[:3].T
        # Every point is within a voxel of one that is inside, and of one that is not: it is on the edge.
        nearest = np.rint(index).astype(int)
        around = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
        near = np.pad(inside, 2)[tuple((nearest[:, None] + around + 2).transpose(2, 0, 1))]
        assert near.any(axis=1).all()
        assert not near.all(axis=1).any()
        # Outward as NiiVue draws them: counterclockwise, so that the volume is above 0, and that of the voxels.
        expected = inside.sum() * np.prod(grid.spacing)
        assert volume(points.astype(float), faces) == pytest.approx(expected, rel=0.05)


def test_points_are_kept_to_a_hundredth_of_a_mm() -> None:
    points = np.random.default_rng(0).uniform(-900, 900, (50, 3))
    faces = np.arange(48, dtype=np.int32).reshape(16, 3)
    read, corners = read_mz3(surface_bytes(Surface(points, faces)))
    np.testing.assert_array_equal(corners, faces)
    # Half of 1/64 mm.
    np.testing.assert_allclose(read * (-1, -1, 1), points, atol=1 / 128)
