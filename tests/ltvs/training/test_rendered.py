"""Patches rendered on the fly: decided by seed, epoch and index alone, as the networks see CTs, in every process."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json
from ltvs.training.loader import PatchLoader
from ltvs.training.patches import Rendered, RenderedDataset
from ltvs.training.run_folder import check_folder, start_stage
from support.trained_runs import tiny_set, tiny_settings

PATCH = (8, 13, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, coarse_maps: Path) -> PreparedSet:
    """A prepared set with two maps, both of one patient."""
    prepared = tiny_set(tmp_path_factory.mktemp("data"))
    for name in ("0000", "0001"):
        shutil.copytree(coarse_maps, prepared.folder / "maps" / name)
    return prepared


def patches(data: PreparedSet, stage: Stage, seed: int = 3, count: int = 3) -> RenderedDataset:
    return RenderedDataset(data, stage, Rendered(PATCH, count, jitter=4.0, seed=seed))


@pytest.mark.parametrize("stage", [1, 2])
def test_seed_epoch_and_index_decide_a_patch(data: PreparedSet, stage: Stage) -> None:
    made = patches(data, stage)
    assert len(made) == 6
    first, again = made[2, 1], patches(data, stage)[2, 1]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.target, again.target)
    for other in (made[3, 1], made[2, 0], made[2, 1 + len(made)], patches(data, stage, seed=4)[2, 1]):
        assert not torch.equal(first.image, other.image)
    assert [made[0, index].case for index in range(6)] == ["0000"] * 3 + ["0001"] * 3


@pytest.mark.parametrize("stage", [1, 2])
def test_patches_are_what_the_network_of_the_stage_sees(data: PreparedSet, stage: Stage) -> None:
    low, high = data.preparation.window
    found = set()
    for index in range(12):
        image, target, _ = patches(data, stage)[0, index]
        assert image.shape == target.shape == (1, *PATCH)
        assert image.dtype == torch.float32
        assert target.dtype == torch.uint8
        assert float(image.max() - image.min()) <= (high - low) / 50 + 1e-5
        found |= set(target.unique().tolist())
        if stage == 2:
            assert not (target[image == 0] > 0).any() or float((image == 0).float().mean()) < 0.999
    assert found == {1: {0, 1}, 2: {0, 1, 2}}[stage]


def test_the_liver_of_stage_2_lies_about_zero_and_nothing_outside_it_is_seen(data: PreparedSet) -> None:
    made = patches(data, 2)
    medians = []
    for index in range(8):
        image, target, _ = made[1, index]
        assert (target[image == 0] == 0).float().mean() > 0.99
        if (image != 0).float().mean() > 0.2:
            medians.append(float(image[(image != 0) & (target == 0)].median()))
    assert abs(np.median(medians)) < 0.5


def test_workers_change_nothing(data: PreparedSet) -> None:
    def batches(workers: int) -> list[torch.Tensor]:
        loader = PatchLoader(patches(data, 2), 2, 5, workers)
        try:
            return [batch.image for step in loader.epoch(1) for batch in step]
        finally:
            loader.close()

    for one, other in zip(batches(0), batches(2), strict=True):
        assert torch.equal(one, other)


def test_a_set_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no maps of tissues to render; prepare it again with --maps"):
        patches(tiny_set(tmp_path), 1)


def test_a_training_goes_on_with_the_same_maps(data: PreparedSet, coarse_maps: Path, tmp_path: Path) -> None:
    """More of them would make another number of steps, and another learning rate."""
    rendered = tiny_settings(data.folder, tmp_path / "rendered", stage="1", render=2, epochs=1)
    prepared = tiny_settings(data.folder, tmp_path / "prepared", stage="1", epochs=1)
    for settings in (rendered, prepared):
        start_stage(settings, 1, data)
        write_json(settings.output / "stage1" / "result.json", {})
        check_folder(settings, 1, data)
    shutil.copytree(coarse_maps, data.folder / "maps" / "0002")
    try:
        check_folder(prepared, 1, data)
        with pytest.raises(InputError, match="maps of the data set or the version has changed"):
            check_folder(rendered, 1, data)
    finally:
        shutil.rmtree(data.folder / "maps" / "0002")
