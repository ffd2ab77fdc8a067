"""Patch-overlap inference equals what a network without context says of the whole volume."""

import numpy as np
import pytest
import torch
from torch import nn

from ltvs.inference import predict_probabilities


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
