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
from ltvs.training import patches as patches_module
from ltvs.training.augmentation import jitter_region, rotate_patch
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


@pytest.mark.parametrize("stage", [1, 2])
def test_without_augment_nothing_but_the_surface_and_the_angle_is_random(data: PreparedSet, stage: int) -> None:
    patches = dataset(data, stage, rotation=15.0, jitter=3.0, seed=4, patch=(13, 11, 30))
    for index in range(0, len(patches), 2):
        rng = np.random.default_rng((4, 7, index))
        name, where = patches.place(index)
        case = data.case(stage, name)
        labels = np.array(case.labels[where])
        target, region = network_target(labels, stage), liver_region(labels, stage)
        if stage == 2:
            region = jitter_region(region, case.grid.spacing[::-1], 3.0, rng)
            target = np.where(region, target, 0)
        image = network_input(np.array(case.image[where]), region, WINDOW, case.hu_offset)
        padding = [(0, p - n) for p, n in zip((13, 11, 30), image.shape, strict=True)]
        angle = float(np.deg2rad(rng.uniform(-15, 15)))
        padded = torch.from_numpy(np.pad(image, padding)), torch.from_numpy(np.pad(target, padding))
        expected, classes = rotate_patch(*padded, angle)
        got = patches[(7, index)]
        assert torch.equal(got.image[0], expected)
        assert torch.equal(got.target[0], classes)


@pytest.mark.parametrize("stage", [1, 2])
def test_seed_epoch_and_index_decide_what_augment_does(data: PreparedSet, stage: int) -> None:
    patches = dataset(data, stage, rotation=15.0, jitter=2.0, augment=True)
    keys = [(epoch, index) for epoch in (1, 2) for index in (0, 1, len(patches))]
    samples = [patches[key] for key in keys]
    torch.set_num_threads(2)
    try:
        again = [patches[key] for key in reversed(keys)]
    finally:
        torch.set_num_threads(1)
    for one, other in zip(samples, reversed(again), strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
    assert len({sample.image.numpy().tobytes() for sample in samples}) == len(samples)
    other_seed = dataset(data, stage, rotation=15.0, jitter=2.0, augment=True, seed=1)
    assert not torch.equal(other_seed[keys[0]].image, samples[0].image)


@given(
    stage=st.sampled_from((1, 2)), size=st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(1, 30)),
    epoch=st.integers(0, 2**31),
)  # fmt: skip
def test_augmented_patches_have_their_size_and_range(
    data: PreparedSet, stage: int, size: tuple[int, int, int], epoch: int
) -> None:
    patches = dataset(data, stage, patch=size, overlap=(0, 0, 0), rotation=15.0, jitter=2.0, augment=True)
    image, target, name = patches[(epoch, epoch % len(patches))]
    assert image.shape == target.shape == (1, *size)
    assert (image.dtype, target.dtype) == (torch.float32, torch.uint8)
    offset = data.case(stage, name).hu_offset
    assert (WINDOW[0] - offset) / 50 <= image.min() <= image.max() <= (WINDOW[1] - offset) / 50
    assert target.max() < (2 if stage == 1 else 3)


@pytest.mark.parametrize("stage", [1, 2])
def test_augmented_images_and_targets_stay_together(
    data: PreparedSet, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the geometry varies, every class keeps its HU, and most of its volume stays in the patch."""
    monkeypatch.setattr(patches_module, "change_intensities", lambda hu, *_: hu)
    monkeypatch.setattr(patches_module, "DEFORMED", 1.0)
    # As large as the case, so that little is moved out of it.
    patch = data.case(stage, "a").image.shape
    moved, still = (dataset(data, stage, names=["a"], patch=patch, overlap=(0, 0, 0), augment=on)
                    for on in (True, False))  # fmt: skip
    original, original_target, _ = still[(0, 0)]
    for epoch in range(12):
        image, target, _ = moved[(epoch, 0)]
        assert not torch.equal(target, original_target)
        for label in (1, 2)[:stage]:
            inside, before = target == label, original_target == label
            assert 0.3 <= inside.sum() / before.sum() <= 2.5
            assert image[inside].mean() == pytest.approx(float(original[before].mean()), abs=0.35)
        # In stage 1 the liver is above 10 HU, and nothing beside it; stage 2 sees fat, of -3.6, in mixed voxels alone.
        assert ((image > 3.4) == (target == 1)).float().mean() > 0.97 if stage == 1 else image.min() > -3


@pytest.mark.parametrize("stage", [1, 2])
def test_what_augment_adds_outside_stays_0(data: PreparedSet, stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every HU is changed, what the network must not see is 0 all the same: outside the liver and the case."""
    monkeypatch.setattr(patches_module, "change_intensities", lambda hu, *_: np.full_like(hu, 200))
    monkeypatch.setattr(patches_module, "DEFORMED", 1.0)
    patches = dataset(data, stage, names=["a"], patch=(64, 24, 30), overlap=(0, 0, 0), rotation=15.0, augment=True)
    case = data.case(stage, "a")
    for epoch in range(8):
        image, target, _ = patches[(epoch, 0)]
        assert set(image.unique().tolist()) <= {0.0, np.float32((200 - case.hu_offset) / 50).item()}
        assert not target[image == 0].any()
        seen = case.image.size if stage == 1 else int((case.labels[:] > 0).sum())
        assert 0.3 * seen < (image != 0).sum() < 2.0 * seen


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
