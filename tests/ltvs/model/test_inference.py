"""Patch-overlap inference equals what a network without context says of the whole volume."""

import numpy as np
import pytest
import torch
from torch import nn

from ltvs.model.inference import predict_probabilities
from ltvs.training.patches import patch_slices


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
