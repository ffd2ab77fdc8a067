"""Convolutions of 3x3x3 with bias and ReLU in C++: the call of `winograd.h`, for prediction."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.backends import LARGE, backend_of
from crossattn3d.kernels.cpp.build import library
from crossattn3d.kernels.cpp.run import check, team

#: Channels of the input and of the result come in groups of so many.
IN, OUT = 16, 32
#: Products of channels above which the weights, which are read again for each row of tiles, do not stay in the cache.
MOST_PRODUCTS = 2**15
#: What multiplies the three weights along h, of F(2, 3), and along w, of F(4, 3) with the points 0, 1, -1, 2, -2, in
#: whole numbers: 2 times and 24 times as much.
ALONG_H = ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2))
ALONG_W = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
TIMES = 48


class _Convolution(ctypes.Structure):
    _fields_ = (
        ("input", c_void_p),
        ("size", c_int64 * 3),
        ("stride", c_int64 * 3),
        ("before", c_int64 * 3),
        ("out", c_void_p),
        ("out_size", c_int64 * 3),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("channels_in", c_int64),
        ("channels_out", c_int64),
    )


def is_wanted(values: int) -> bool:
    """Return whether C++ is to convolve: the choice of a backend that `auto` makes for maps on a CPU.

    Args:
        values: of a map of the finest level.

    Raises:
        ValueError: CROSSATTN3D_BACKEND names no backend.
    """
    backend = backend_of("auto")
    return backend == "cpp" or (backend == "auto" and values >= LARGE)


def is_supported(weight: Float[Tensor, "k c _ _ _"]) -> bool:
    """Return whether C++ convolves with such weights: float32, on a CPU, of groups of channels, not of very many."""
    k, c = weight.shape[:2]
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.shape[2:] == (3, 3, 3)
        and not (k % OUT or c % IN)
        and k * c <= MOST_PRODUCTS
        and not isinstance(library(), str)
    )


def transformed(weight: Float[Tensor, "k c 3 3 3"]) -> Float[Tensor, "blocks 24 3 c 32"]:
    """Return weights in the form and the order that `convolve` reads them in; they are rounded once."""
    k, c = weight.shape[:2]
    along_h, along_w = (torch.tensor(m, dtype=torch.float64) for m in (ALONG_H, ALONG_W))
    columns = weight.reshape(k // OUT, OUT, c, 3, 9).permute(0, 4, 3, 2, 1)
    # Rounded in the end alone, and copied in order and converted at once.
    columns = columns.to(torch.float64, memory_format=torch.contiguous_format).view(-1, 9, 3 * c * OUT)
    return (torch.kron(along_h, along_w) @ columns).div_(TIMES).float().view(-1, 24, 3, c, OUT)


def convolve(
    part: Float[Tensor, "1 c _ _ _"],
    before: Sequence[int],
    size: Sequence[int],
    weights: Float[Tensor, "blocks 24 3 c 32"],
    bias: Float[Tensor, " k"],
) -> Float[Tensor, "1 k d h w"]:
    """Return a convolution of 3x3x3 after bias and ReLU, float32, channels last; outside of its input there is 0.

    Rounding errs a few times as much as that of a direct convolution. Where the input is not finite, up to 5 voxels
    around are not either.

    Args:
        part: the input.
        before: voxels of it along (d, h, w) before the first one of the result, 0 or 1.
        size: of the result, (d, h, w).
        weights: `transformed`.
        bias: of each channel of the result.
    """
    loaded = library()
    assert not isinstance(loaded, str), loaded
    if part.stride(1) != 1:
        part = part.contiguous(memory_format=torch.channels_last_3d)
    shape = (1, len(bias), *size)
    out = torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last_3d)
    triple = c_int64 * 3
    call = _Convolution(
        part.data_ptr(), triple(*part.shape[2:]), triple(*part.stride()[2:]), triple(*before),
        out.data_ptr(), triple(*size), weights.data_ptr(), bias.data_ptr(), part.shape[1], len(bias),
    )  # fmt: skip
    check(loaded.convolve(ctypes.byref(call), torch.get_num_threads(), team()))
    return out
