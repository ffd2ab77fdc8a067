"""Patch inference: class probabilities of a whole volume from overlapping patches."""

import torch
from jaxtyping import Float
from numpy import ndarray

from crossattn3d import UNet3d
from ltvs.model.computing import Precision, computing_in

Triple = tuple[int, int, int]


@torch.inference_mode()
def predict_probabilities(
    net: UNet3d,
    image: Float[ndarray, "d h w"],
    patch: Triple,
    overlap: Triple,
    device: torch.device,
    precision: Precision = "32",
) -> Float[ndarray, "k d h w"]:
    """Return the softmax of the logits, averaged where patches overlap; patches lie as in training.

    Args:
        net: in eval mode, on `device`.
        image: (d, h, w), as `stages.network_input` makes it; volumes smaller than a patch are padded with background.
        patch: (d, h, w) voxels.
        overlap: (d, h, w) voxels shared by neighboring patches.
        device: where the patches are computed; the volume itself stays in main memory.
        precision: of the layers.

    Returns:
        (classes, d, h, w), float32, with a sum of 1 over the classes.
    """
    # Here, since importing MONAI takes seconds, which wrong arguments need not wait for; likewise elsewhere.
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=patch,
        # MONAI truncates the step to an int: half a voxel less overlap keeps rounding from making it one too short.
        overlap=[max(0.0, o - 0.5) / p for o, p in zip(overlap, patch, strict=True)],
        # On CPU, PyTorch leaves the convolutions of one small float32 volume to slow code of its own, of two to oneDNN.
        sw_batch_size=2 if device.type == "cpu" else 1,
        mode="constant",
        sw_device=device,
        device="cpu",
    )
    volume = torch.from_numpy(image)[None, None]
    result: torch.Tensor = inferer(volume, lambda x: _softmax(net, x, device, precision))
    return result[0].numpy()


def _softmax(net: UNet3d, x: torch.Tensor, device: torch.device, precision: Precision) -> torch.Tensor:
    with computing_in(precision, device):
        logits: torch.Tensor = net(x.to(memory_format=torch.channels_last_3d))
    return logits.float().softmax(dim=1)
