"""A turned patch is what MONAI's rotation about the same axis makes of it, and classes turn with the image."""

import numpy as np
import pytest
import torch
from monai.transforms import Rotate

from ltvs.training.augmentation import rotate_patch


@pytest.mark.parametrize("angle", [-0.4, 0.17, 1.3])
def test_it_is_a_rotation_of_every_slice(angle: float) -> None:
    generator = torch.Generator().manual_seed(5)
    image = torch.randn((3, 14, 19), generator=generator)
    target = torch.randint(0, 3, (3, 14, 19), generator=generator, dtype=torch.uint8)
    moved, classes = rotate_patch(image, target, angle)
    for got, given, mode, tolerance in ((moved, image, "bilinear", 1e-4), (classes, target, "nearest", 0)):
        expected = Rotate(angle, mode=mode, padding_mode="zeros")(given.float()).as_tensor()
        # In single precision a place is off by 1e-6 of a pixel, and neighbors differ by a few units.
        np.testing.assert_allclose(got.float(), expected, rtol=0, atol=tolerance)


def test_an_angle_of_0_changes_nothing() -> None:
    image, target = torch.randn(2, 3, 4), torch.ones((2, 3, 4), dtype=torch.uint8)
    moved, classes = rotate_patch(image, target, 0.0)
    assert torch.equal(moved, image)
    assert torch.equal(classes, target)
