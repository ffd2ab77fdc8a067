"""Whether Triton's results are right on a device, found out with small maps before `auto` relies on it."""

import logging
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.derivative import Implementation, backward, forward
from crossattn3d.kernels.gate.passes import gradients, open_gate
from crossattn3d.kernels.parameters import Attention, ChannelParameters, GateParameters, ScoreNorm, SliceParameters
from crossattn3d.kernels.triton.run import TRITON

logger = logging.getLogger("crossattn3d")

#: Voxels of the maps, which no tile of a kernel divides.
SIZE = (3, 5, 11)
#: Largest difference from PyTorch, in units of the largest value and of the dtype's precision. Both sum some hundred
#: products in float32 and round the result: what a wrong tile or a missing term does is far larger.
UNITS = {torch.float32: 2.0**10, torch.bfloat16: 4.0, torch.float16: 4.0}


class Kind(NamedTuple):
    """What decides which kernels run: the maps but for their sizes, and the normalization."""

    device: torch.device
    dtype: torch.dtype
    channels: tuple[int, int]
    channels_last: tuple[bool, bool]
    score_norm: ScoreNorm


#: What has been found out.
found: dict[Kind, bool] = {}


def is_right_for(u: Tensor, e: Tensor, score_norm: ScoreNorm) -> bool:
    """Return whether all passes on maps like these agree with PyTorch; found out once in a process.

    While a CUDA graph is captured nothing can be compared: then False, if it is not known yet.
    """
    # `none` and `sqrt` differ from `mean` in a factor.
    score_norm = score_norm if score_norm in ("cosine", "instance") else "mean"
    channels_last = u.stride(1) < u.stride(-1), e.stride(1) < e.stride(-1)
    kind = Kind(u.device, u.dtype, (u.shape[1], e.shape[1]), channels_last, score_norm)
    if kind in found:
        return found[kind]
    if u.is_cuda:
        with torch.cuda.device(u.device):
            if torch.cuda.is_current_stream_capturing():
                return False
    precision = torch.get_float32_matmul_precision()
    try:
        # Both multiply small matrices, where TF32 would lose more than is allowed.
        torch.set_float32_matmul_precision("highest")
        with torch.no_grad():
            worst = _worst(kind)
        right, why = worst <= 1, f"differs from PyTorch {worst:.3g} times as much as it may"
    except torch.OutOfMemoryError:  # which says nothing about the kernels
        return False
    except Exception as error:
        right, why = False, f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    finally:
        torch.set_float32_matmul_precision(precision)
    if not right:
        logger.warning("auto: PyTorch computes, not Triton, which %s; %s", why, kind)
    found[kind] = right
    return right


def _worst(kind: Kind) -> float:
    """Return the largest difference of output and gradients, in units of what is allowed; inf if one is not finite."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        # Rows of a matrix of length 1, about, so that scores stay near 0, where a map depends on them most evenly.
        return torch.randn(shape, generator=g).div(shape[-1] ** 0.5 if len(shape) == 2 else 1).to(kind.device)

    (cu, ce), c = kind.channels, kind.channels[0]
    last = {True: torch.channels_last_3d, False: torch.contiguous_format}
    u, e, dout = (
        normal(2, n, *SIZE).to(kind.dtype).contiguous(memory_format=last[which])
        for n, which in ((cu, kind.channels_last[0]), (ce, kind.channels_last[1]), (c, kind.channels_last[1]))
    )
    one = torch.ones((), device=kind.device)
    channel = ChannelParameters(normal(c, cu), normal(c), normal(c, ce), normal(c), normal(c, ce), normal(c), one)
    slices = SliceParameters(
        normal(1, cu), normal(1), normal(1, ce), normal(1), normal(1, ce), normal(1), normal(c, 1), normal(c), one
    )
    given = channel, slices, Attention(kind.score_norm, True, -3, "triton")
    gate = GateParameters(normal(c, cu), normal(c, ce), normal(c))
    mixture = dout.flip(2).contiguous(memory_format=last[kind.channels_last[1]])
    results = []
    for how in (TRITON, Implementation(torch_pass.run_pass)):
        out, sums = forward(how, u, e, given)
        found_now = [out, *chain(sums.channel or (), sums.slices), *backward(how, dout, u, e, given, sums)]
        results.append([*found_now, open_gate(how, u, e, gate), *gradients(how, dout, u, e, mixture, gate, True)])
    pairs = [(a, b) for a, b in zip(*results, strict=True) if a is not None and b is not None]
    # Some gradients are 0 but for the rounding of what cancels, which has the size of the others.
    floor = 2.0**-10 * torch.stack([b.double().abs().max() for _, b in pairs]).max()
    errors = [(a.double() - b.double()).abs().max() / b.double().abs().max().maximum(floor) for a, b in pairs]
    worst = float(torch.stack(errors).nan_to_num(torch.inf).max())
    return worst / (UNITS[kind.dtype] * torch.finfo(kind.dtype).eps)
