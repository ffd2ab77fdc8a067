"""Patches cover the volume, keep image and target together, and depend on seed, epoch and index alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.preparing import prepare_set
from ltvs.model.stages import find_hu_offset, liver_region, network_input, network_target
from ltvs.runtime.errors import InputError
from ltvs.training.patches import PatchDataset, Sampling, patch_around, patch_slices
from ltvs.volume.case import Case
from support.tiny_cases import listed, tiny_case
from support.trained_runs import RECIPE, tiny_set

WINDOW = (-160.0, 240.0)


def no_lesions(folder: Path) -> PreparedSet:
    """A case whose liver has neither vessels nor tumors."""
    whole = tiny_case()
    case = Case("a", whole.ct, whole.liver, whole.vessel * 0, whole.tumor * 0)
    split = {"train": ["a"], "validation": [], "test": []}
    prepare_set(listed(a=lambda: case), RECIPE, folder, 1, lambda patients: {"split.json": split})
    return PreparedSet(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


def dataset(data: PreparedSet, stage: int = 2, rotation: float = 0.0, **changes) -> PatchDataset:
    names = changes.pop("names", ["a", "b"])
    settings = {"patch": (8, 24, 24), "overlap": (4, 0, 0), **changes}
    return PatchDataset(data, stage, names, Sampling(rotation=rotation, **settings))


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
    patches = dataset(data, stage, patch=(8, 11, 16))
    sizes = [data.case(stage, name).image.shape for name in ("a", "b")]
    places = [(name, where) for name, size in zip("ab", sizes, strict=True)
              for where in patch_slices(size, (8, 11, 16), (4, 0, 0))]  # fmt: skip
    assert len(patches) == len(places) > 8
    for index, (name, where) in enumerate(places):
        image, target, of = patches[(0, index)]
        case = data.case(stage, name)
        labels = case.labels[where]
        zero = find_hu_offset(case.image, liver_region(case.labels, stage), WINDOW)
        expected = network_input(case.image[where], liver_region(labels, stage), WINDOW, zero)
        assert (of, patches.place(index)) == (name, (name, where))
        np.testing.assert_array_equal(image[0], expected)
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


def test_stage_2_is_shown_a_liver_whose_surface_is_moved(data: PreparedSet) -> None:
    true, moved = dataset(data), dataset(data, jitter=3.0)
    (image, target, _), (other, other_target, _) = true[(2, 0)], moved[(2, 0)]
    shown, seen = other != 0, image != 0
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


def test_a_patch_around_a_voxel_has_it_in_its_middle_and_stays_inside() -> None:
    assert patch_around((10, 20, 30), (40, 40, 40), (8, 5, 40)) == (slice(6, 14), slice(18, 23), slice(0, 40))
    assert patch_around((1, 39, 6), (40, 40, 7), (8, 5, 9)) == (slice(0, 8), slice(35, 40), slice(0, 7))


def test_patches_of_the_foreground_hold_every_class_alike_often(data: PreparedSet) -> None:
    patch = (3, 5, 7)
    patches = dataset(data, patch=patch, overlap=(0, 0, 0), foreground=1.0)
    middles = []
    for index in range(240):
        name, case, where = patches._choose(index % len(patches), np.random.default_rng(index))
        assert name == patches.place(index % len(patches))[0], "a case keeps its share of the epoch"
        target = network_target(case.labels[where], 2)
        assert target.shape == patch
        assert target.any()
        middles.append(target[1, 2, 3])
    # Without the edge, which no drawn voxel of this case is near to: 240 draws of two classes, a spread of 7.7.
    assert abs(middles.count(1) - 120) < 4 * 7.7
    assert abs(middles.count(2) - 120) < 4 * 7.7


def test_the_share_of_the_foreground(data: PreparedSet) -> None:
    own, some = (dataset(data, patch=(3, 5, 7), overlap=(0, 0, 0), foreground=share) for share in (0.0, 0.3))
    n = len(own)
    moved = sum(not torch.equal(own[(1, i)].image, some[(1, i)].image) for i in range(n))
    # Binomial, within four standard deviations; a patch that is moved may look the same where there is nothing.
    assert 0.3 * n - 4 * (0.21 * n) ** 0.5 - 5 < moved < 0.3 * n + 4 * (0.21 * n) ** 0.5


def test_a_case_without_foreground_keeps_its_own_patches(tmp_path: Path) -> None:
    case = no_lesions(tmp_path)
    patches = dataset(case, names=["a"], foreground=1.0)
    assert [patches._choose(i, np.random.default_rng(i))[2] for i in range(len(patches))] == [
        patches.place(i)[1] for i in range(len(patches))
    ]


def test_another_round_of_a_patch_is_at_random_anew(data: PreparedSet) -> None:
    patches = dataset(data, rotation=20.0)
    first, again, other = patches[(1, 2)], patches[(1, 2)], patches[(1, 2 + len(patches))]
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)
    assert patches.place(2) == patches.place(2)


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("labels", 4, "expected labels 0 to 3, got 4; prepare the case again"),
        ("image", 241, "expected -160 to 240 HU, got .* to 241; prepare the case again"),
        ("image", -1000, "expected -160 to 240 HU, got -1000 to"),
    ],
)
def test_voxels_that_preparation_does_not_write(tmp_path: Path, file: str, value: int, message: str) -> None:
    patches = dataset(tiny_set(tmp_path))
    path = tmp_path / "stage2" / "a" / f"{file}.npy"
    array = np.load(path)
    array[0, 1, 2] = value
    np.save(path, array)
    with pytest.raises(InputError, match=f"stage2/a: {message}"):
        patches[(0, 0)]
    patches[(0, len(patches) - 1)]
