"""Tensors as rows: channels or slices by voxels, views wherever the memory allows it."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

#: Decoder map U and encoder map E, of one spatial size; which spatial dimension counts slices is an option.
QueryMap = Float[Tensor, "b cq x y z"]
ContextMap = Float[Tensor, "b ce x y z"]


def sum_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of everything but the maps: float64 for float64 maps, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def one_stride(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """Return the map with one stride along all voxels; a copy only where it is needed.

    Contiguous and channels_last_3d maps, and some of their channels, have one stride already.
    """
    steps = [(n, step) for n, step in zip(x.shape[2:], x.stride()[2:], strict=True) if n != 1]
    return x if all(a == n * b for (_, a), (n, b) in pairwise(steps)) else x.contiguous()


def new_map(like: Tensor, channels: int) -> Tensor:
    """Return an uninitialized map with another number of channels in the dtype and memory format of `like`.

    Args:
        like: with one stride along its voxels.
        channels: of the new map.
    """
    shape, rows = (like.shape[0], channels, *like.shape[2:]), like.flatten(2)
    order = torch.channels_last_3d if rows.stride(1) < rows.stride(2) else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order)


def to_slices(rows: Float[Tensor, "b n l"], size: Sequence[int], slice_dim: int) -> Float[Tensor, "b n d p"]:
    """Return voxels as slices x positions within a slice."""
    # Counted from the first dimension: older runtimes know no other.
    return rows.reshape(*rows.shape[:2], *size).movedim(slice_dim % 5, 2).flatten(3)


def from_slices(sliced: Float[Tensor, "b n d p"], size: Sequence[int], slice_dim: int) -> Float[Tensor, "b n l"]:
    """Return the inverse of `to_slices`."""
    sizes = list(size)
    sizes.insert(0, sizes.pop(slice_dim))
    return sliced.reshape(*sliced.shape[:2], *sizes).movedim(2, slice_dim % 5).flatten(2)
