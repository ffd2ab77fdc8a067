"""Patches cover the volume, keep image and target together, and depend on seed, epoch and index alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltvs.patches import EpochSampler, PatchDataset, patch_slices
from ltvs.prepared import PreparedSet
from ltvs.stages import liver_region, network_input, network_target, zero_level
from trained_runs import tiny_set

WINDOW = (-160.0, 240.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


def dataset(data: PreparedSet, stage: int = 2, rotation: float = 0.0, **changes) -> PatchDataset:
    settings = {"names": ["a", "b"], "patch": (8, 24, 24), "overlap": (4, 0, 0), "jitter": 0.0, "seed": 0}
    return PatchDataset(data, stage, rotation=rotation, **{**settings, **changes})


@given(st.data())
def test_patches_cover_every_voxel_and_share_the_overlap(draw) -> None:
    size = draw.draw(st.tuples(*[st.integers(1, 40)] * 3))
    patch = draw.draw(st.tuples(*[st.integers(1, 16)] * 3))
    overlap = tuple(draw.draw(st.integers(0, p - 1)) for p in patch)
    seen = np.zeros(size, dtype=int)
    for where in patch_slices(size, patch, overlap):
        assert [s.stop - s.start for s in where] == [min(n, p) for n, p in zip(size, patch, strict=True)]
        seen[where] += 1
    assert seen.min() >= 1


def test_the_papers_patches() -> None:
    starts = [where[0].start for where in patch_slices((100, 320, 320), (32, 320, 320), (16, 0, 0))]
    assert starts == [0, 16, 32, 48, 64, 68]


@pytest.mark.parametrize("stage", [1, 2])
def test_without_rotation_a_patch_is_what_was_prepared(data: PreparedSet, stage: int) -> None:
    patches = dataset(data, stage, patch=(8, 16, 16))
    for index, patch in enumerate(patches.patches):
        image, target, name = patches[(0, index)]
        case = data.case(stage, name)
        labels = case.labels[patch.where]
        zero = zero_level(case.image, liver_region(case.labels, stage), WINDOW)
        expected = network_input(case.image[patch.where], liver_region(labels, stage), WINDOW, zero)
        assert name == patch.case
        np.testing.assert_allclose(image[0], expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(target[0], network_target(labels, stage))


def test_small_cases_are_padded_with_background(data: PreparedSet) -> None:
    image, target, _ = dataset(data, patch=(64, 24, 30))[(0, 0)]
    depth = data.case(2, "a").image.shape[0]
    assert image.shape == target.shape == (1, 64, 24, 30)
    assert not image[0, depth:].any()
    assert not target[0, :, :, 24:].any()


def test_rotation_turns_image_and_target_together_within_slices(data: PreparedSet) -> None:
    patches = dataset(data, rotation=90.0)
    still = dataset(data)
    image, target, _ = patches[(3, 1)]
    original, original_target, _ = still[(3, 1)]
    assert not torch.equal(image, original)
    assert target.unique().tolist() == original_target.unique().tolist()
    # Vessels are the brightest and tumors darker than the liver, before and after.
    for class_index in (1, 2):
        assert image[target == class_index].mean() == pytest.approx(
            float(original[original_target == class_index].mean()), abs=0.6
        )


def test_rotation_leaves_every_slice_where_it_is(data: PreparedSet) -> None:
    # Above 10 HU, half-way between liver and fat: there interpolation moves the edge to neither side.
    before, after = (
        dataset(data, stage=1, rotation=angle)[(3, 1)][0][0].gt(3.4).float().mean((1, 2)) for angle in (0.0, 90.0)
    )
    torch.testing.assert_close(after, before, rtol=0, atol=0.02)


def test_seed_epoch_and_index_decide_the_rotation(data: PreparedSet) -> None:
    patches = dataset(data, rotation=30.0)
    first = patches[(1, 0)][0]
    patches[(5, 2)]
    assert torch.equal(patches[(1, 0)][0], first)
    assert not torch.equal(patches[(2, 0)][0], first)
    assert not torch.equal(dataset(data, rotation=30.0, seed=1)[(1, 0)][0], first)


def test_every_epoch_has_every_patch_in_its_own_order() -> None:
    sampler = EpochSampler(50, seed=7)
    orders = []
    for epoch in (1, 2, 1):
        sampler.epoch = epoch
        keys = list(sampler)
        assert {e for e, _ in keys} == {epoch}
        assert sorted(i for _, i in keys) == list(range(50))
        orders.append([i for _, i in keys])
    assert orders[0] == orders[2] != orders[1]
    assert len(sampler) == 50


def test_stage_2_is_shown_a_liver_whose_surface_is_moved(data: PreparedSet) -> None:
    true, moved = dataset(data), dataset(data, jitter=3.0)
    (image, target, _), (other, other_target, _) = true[(2, 0)], moved[(2, 0)]
    # Interpolation, even by an angle of 0, leaves traces of rounding.
    shown, seen = other.abs() > 1e-3, image.abs() > 1e-3
    # Outside the true liver the tiny case is fat, 180 HU below the liver: it is seen now, and is no target.
    assert (other < -2).any()
    assert not (image < -2).any()
    assert not other_target[other < -2].any()
    both = shown & seen
    torch.testing.assert_close(other[both], image[both], rtol=0, atol=1e-3)
    assert torch.equal(other_target[both], target[both])
    assert not other_target[~shown & seen].any(), "what is not shown is no target"
    assert not torch.equal(moved[(3, 0)][0], other)
    assert torch.equal(moved[(2, 0)][0], other)


def test_stage_1_sees_everything_whatever_the_jitter(data: PreparedSet) -> None:
    assert torch.equal(dataset(data, stage=1, jitter=3.0)[(2, 0)][0], dataset(data, stage=1)[(2, 0)][0])
