"""Patch-overlap inference equals what a network without context says of the whole volume."""

import numpy as np
import pytest
import torch
from torch import nn

import ltvs.model.inference
from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.regional.boxes import dilated
from ltvs.model.inference import count_patches, predict_probabilities
from ltvs.training.patches import patch_slices
from support.random_parameters import randomize


class Pointwise(nn.Module):
    """Three logits from each voxel alone, so that patches cannot matter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, 1 - 2 * x, x * x], dim=1)


class MeanOfPatch(nn.Module):
    """Two logits that tell which patch was seen, so that averaging matters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((-3, -2, -1), keepdim=True).expand_as(x)
        return torch.cat([mean, torch.zeros_like(x)], dim=1)


@pytest.mark.parametrize("size", [(7, 8, 9), (16, 8, 9), (33, 10, 13), (4, 5, 6)])
def test_patches_are_put_together_in_place(size: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).random(size, dtype=np.float32)
    found = predict_probabilities(Pointwise(), image, (8, 8, 9), (4, 0, 2), torch.device("cpu"))
    expected = Pointwise()(torch.from_numpy(image)[None, None])[0].softmax(0).numpy()
    assert found.shape == (3, *size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_overlapping_patches_are_averaged() -> None:
    image = np.zeros((12, 3, 5), dtype=np.float32)
    image[8:] = 1
    found = predict_probabilities(MeanOfPatch(), image, (8, 3, 5), (4, 0, 0), torch.device("cpu"))[0, :, 0, 0]
    first, second = (1 / (1 + np.exp(-mean)) for mean in (0.0, 0.5))
    np.testing.assert_allclose(found, np.repeat([first, (first + second) / 2, second], 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("patch", "overlap"), [(48, 20), (24, 20), (12, 5), (16, 8), (10, 0)])
def test_patches_lie_where_those_of_training_do(patch: int, overlap: int) -> None:
    """A network that marks the first slice of what it sees shows where patches begin."""

    class FirstSlice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = torch.full_like(x, -30.0)
            first[:, :, 0] = 30.0
            return torch.cat([-first, first], dim=1)

    image = np.ones((101, 2, 2), dtype=np.float32)
    found = predict_probabilities(FirstSlice(), image, (patch, 2, 2), (overlap, 0, 0), torch.device("cpu"))
    begins = [where[0].start for where in patch_slices((101, 2, 2), (patch, 2, 2), (overlap, 0, 0))]
    assert np.flatnonzero(found[1, :, 0, 0] > 0.1).tolist() == begins


def paper_like(seed: int = 0) -> UNet3d:
    """A small network with attention, as prediction has it."""
    return fold_batch_norm(randomize(UCANet(1, 3, (4, 5, 6)), seed).eval())


def test_only_what_is_wanted_is_computed() -> None:
    """Inside, everything is as without; patches in which nothing is wanted get class 0."""
    rng = np.random.default_rng(0)
    image = np.zeros((31, 9, 14), dtype=np.float32)
    image[2:9, 3:6, 4:13] = rng.standard_normal((7, 3, 9))
    wanted = dilated(image != 0, 1)
    arguments = paper_like(), image, (8, 9, 10), (4, 0, 2), torch.device("cpu")
    everything, found = predict_probabilities(*arguments), predict_probabilities(*arguments, wanted=wanted)
    np.testing.assert_allclose(found[:, wanted], everything[:, wanted], rtol=0, atol=1e-5)
    assert (found[0, 16:] == 1).all()
    assert not found[1:, 16:].any()
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=0, atol=1e-6)


def test_nothing_wanted_is_background() -> None:
    image = np.ones((9, 10, 11), dtype=np.float32)
    wanted = np.zeros(image.shape, dtype=bool)
    found = predict_probabilities(paper_like(), image, (8, 8, 8), (4, 0, 0), torch.device("cpu"), wanted=wanted)
    assert found.shape == (3, *image.shape)
    assert (found[0] == 1).all()


@pytest.mark.parametrize("regional", [True, False])
def test_mirror_images_are_averaged(regional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over all eight, each predicted by itself and mirrored back; with and without a wanted region."""
    if not regional:
        monkeypatch.setattr(ltvs.model.inference, "is_regional", lambda _: False)
    image = np.random.default_rng(1).standard_normal((8, 9, 10), dtype=np.float32)
    wanted = np.zeros(image.shape, dtype=bool)
    wanted[1:4, 2:9, :3] = True
    net, patch, cpu = paper_like(1), (8, 9, 10), torch.device("cpu")
    found = predict_probabilities(net, image, patch, (0, 0, 0), cpu, wanted=wanted, mirror=True)
    mean = np.zeros((3, *image.shape))
    for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        one = predict_probabilities(net, np.flip(image, axes), patch, (0, 0, 0), cpu)
        mean += np.flip(one, [axis + 1 for axis in axes]) / 8
    np.testing.assert_allclose(found[:, wanted], mean[:, wanted], rtol=0, atol=1e-5)
    assert np.abs(found - predict_probabilities(net, image, patch, (0, 0, 0), cpu))[:, wanted].max() > 1e-3


@pytest.mark.parametrize("net", [Pointwise(), paper_like()], ids=["pairs", "regional"])
def test_progress_counts_patches(net: nn.Module) -> None:
    image, patch, overlap = np.ones((23, 8, 9), dtype=np.float32), (8, 8, 8), (4, 0, 0)
    told: list[tuple[int, int]] = []
    predict_probabilities(net, image, patch, overlap, torch.device("cpu"), progress=lambda *of: told.append(of))
    in_all = count_patches(image.shape, patch, overlap)
    assert in_all == len(patch_slices(image.shape, patch, overlap)) == 10
    assert told[-1] == (in_all, in_all)
    assert sorted(set(told)) == told
