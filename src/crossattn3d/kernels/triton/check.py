"""Whether Triton's results are right on a device, found out with small maps before `auto` relies on it."""

import logging
from itertools import chain

import torch
from torch import Tensor

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.derivative import Implementation, backward, forward
from crossattn3d.kernels.parameters import Attention, ChannelParameters, ScoreNorm, SliceParameters
from crossattn3d.kernels.triton.run import TRITON

logger = logging.getLogger("crossattn3d")

#: What has been found out, by device and dtype of the maps and normalization.
found: dict[tuple[torch.device, torch.dtype, ScoreNorm], bool] = {}
#: Sizes that no block of a kernel divides: channels of the maps, voxels.
CHANNELS, SIZE = (19, 5), (3, 5, 11)
#: Largest difference from PyTorch, in units of the largest value and of the dtype's precision. Both sum some hundred
#: products in float32 and round the result: what a wrong tile or a missing term does is far larger.
UNITS = {torch.float32: 2.0**10, torch.bfloat16: 4.0, torch.float16: 4.0}


def is_right_on(device: torch.device, dtype: torch.dtype, score_norm: ScoreNorm) -> bool:
    """Return whether all four passes agree with PyTorch; found out once in a process for the same arguments.

    While a CUDA graph is captured nothing can be compared: then False, if it is not known yet.
    """
    # The others differ in a factor. With this one scores stay near 0, where a map depends on them most evenly.
    score_norm = score_norm if score_norm in ("cosine", "instance") else "mean"
    key = device, dtype, score_norm
    if key in found:
        return found[key]
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return False
    try:
        with torch.no_grad():
            worst = _worst(*key)
        right, why = worst <= 1, f"differs from PyTorch {worst:.3g} times as much as it may"
    except Exception as error:
        right, why = False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    if not right:
        logger.warning("auto: PyTorch computes on %s, in %s: Triton %s", device, dtype, why)
    found[key] = right
    return right


def _worst(device: torch.device, dtype: torch.dtype, score_norm: ScoreNorm) -> float:
    """Return the largest difference of output and gradients, in units of what is allowed; inf if one is not finite."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g).to(device)

    (cu, ce), c = CHANNELS, CHANNELS[0]
    u, e, dout = (normal(2, n, *SIZE).to(dtype) for n in (cu, ce, c))
    one = torch.ones((), device=device)
    channel = ChannelParameters(normal(c, cu), normal(c), normal(c, ce), normal(c), normal(c, ce), normal(c), one)
    slices = SliceParameters(
        normal(1, cu), normal(1), normal(1, ce), normal(1), normal(1, ce), normal(1), normal(c, 1), normal(c), one
    )
    given = channel, slices, Attention(score_norm, True, -3, "triton")
    results = []
    for how in (TRITON, Implementation(torch_pass.run_pass)):
        out, sums = forward(how, u, e, given)
        results.append([out, *chain(sums.channel or (), sums.slices), *backward(how, dout, u, e, given, sums)])
    pairs = [(a, b) for a, b in zip(*results, strict=True) if a is not None and b is not None]
    # Some gradients are 0 but for the rounding of what cancels, which has the size of the others.
    floor = 2.0**-10 * torch.stack([b.double().abs().max() for _, b in pairs]).max()
    errors = [(a.double() - b.double()).abs().max() / b.double().abs().max().maximum(floor) for a, b in pairs]
    worst = float(torch.stack(errors).nan_to_num(torch.inf).max())
    return worst / (UNITS[dtype] * torch.finfo(dtype).eps)
