"""Launches of the two Triton kernels, each for one sum of products or one mixture of feature maps.

Maps are read through their strides, whatever the memory format. Sums are deterministic: each program of a kernel
writes its own slot, and PyTorch adds the slots. The matrices are split into two parts of the maps' precision, so
that half precision is lost in the maps alone.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import Centered
from crossattn3d.kernels.triton import kernels as _kernels

#: Untyped, as all of Triton.
kernels: Any = _kernels
INTERPRETED: bool = kernels.INTERPRETED
#: Programs per multiprocessor, enough for the memory to be busy and for the last ones not to be waited for.
PROGRAMS = 8
#: Voxels of a map that one program reads, at least, for each channel of the partial sums that it writes.
VOXELS_PER_CHANNEL = 4
#: Channels that a program takes at a time; with this, all fits into 99 KiB of shared memory, which every GPU has.
BLOCK = 64


class Projection(NamedTuple):
    """A projection to one channel.

    Args:
        weight: with the bias last, (b, c+1).
        out: destination, (b, voxels), float32, contiguous along the voxels.
    """

    weight: Tensor
    out: Tensor


class Moments(NamedTuple):
    """Sums over voxels: A B^T, if asked for, the row sums of both, and A s^T, (b, rows, ca)."""

    gram: Tensor | None
    a: Tensor
    b: Tensor
    single: Tensor


class Source(NamedTuple):
    """A map and the matrix it is multiplied with, (b, c, channels of the map); None to read the map for sums alone."""

    x: Tensor
    p: Tensor | None


def moments(
    a: Tensor | Centered,
    b: Tensor | Centered | None = None,
    of_a: Projection | None = None,
    of_b: Sequence[Projection] = (),
    *,
    single: Sequence[Tensor] = (),
    gram: bool = False,
    exact: bool = False,
) -> Moments:
    """Return sums over the voxels of feature maps, and write projections of them.

    Args:
        a: (b, ca, voxels).
        b: (b, cb, voxels).
        of_a: projection of `a`.
        of_b: two projections of `b`, or none.
        single: up to two single-channel maps, (b, voxels), of one batch stride.
        gram: whether A B^T is wanted.
        exact: whether sums are in float64.
    """
    a, center_a = _map_and_center(a)
    b, center_b = (None, None) if b is None else _map_and_center(b)
    batch, ca, length = a.shape
    cb = 1 if b is None else b.shape[1]
    block_a, block_b = _padded(ca), _padded(cb)
    tile, warps = _tile(a, max(block_a, block_b), exact)
    blocks_a, blocks_b = _ceil(ca, block_a), _ceil(cb, block_b)
    chunk, runs = _runs(a, max(ca, cb), tile, batch * blocks_a * blocks_b)
    dtype = torch.float64 if exact else torch.float32
    sums = a.new_empty((runs, batch, ca, cb), dtype=dtype) if gram else None
    vectors = a.new_empty((runs, batch, 2 + len(single), max(ca, cb)), dtype=dtype)
    projections = [(of_a, blocks_a), *((of, blocks_b) for of in (*of_b, None, None)[:2])]
    # Each block of channels has a part of every projection.
    parts = [None if of is None else _parts(of.out, blocks) for of, blocks in projections]
    with _device(a):
        kernels.moments[(runs, blocks_a * blocks_b, batch)](
            a, b, center_a, center_b, *(None if of is None else of.weight.contiguous() for of, _ in projections),
            *parts, *(*single, None, None)[:2], sums, vectors, ca, cb, max(ca, cb), length, chunk,
            *(stride for part in parts for stride in ((0, 0) if part is None else part.stride()[:2])),
            single[0].stride(0) if single else 0, *a.stride(), *_strides(b),
            SINGLE=len(single), EXACT=exact, INTERPRETED=INTERPRETED,
            BA=block_a, BB=block_b, BL=tile, num_warps=warps,
        )  # fmt: skip
    for (of, blocks), part in zip(projections, parts, strict=True):
        if of is not None and part is not None and blocks > 1:
            torch.sum(part, 0, out=of.out)
    total = vectors.sum(0)
    return Moments(None if sums is None else sums.sum(0), total[:, 0, :ca], total[:, 1, :cb], total[:, 2:, :ca])


def mix(
    out: Tensor,
    sources: Sequence[Source],
    bias: Tensor | None = None,
    weights: Sequence[tuple[Tensor, Tensor]] = (),
    residual: Tensor | None = None,
    single: Sequence[Tensor] = (),
    other: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Write a mixture of feature maps, and return sums of products of what is read for it.

    Args:
        out: destination, (b, c, voxels).
        sources: up to three maps with their matrices.
        bias: (b, c).
        weights: up to two vectors, (b, c), with the single-channel maps, (b, voxels), that they multiply.
        residual: (b, c, voxels), is added.
        single: up to two single-channel maps to be multiplied with the first source; only where `sums_fit`.
        other: the same for the second.

    Returns:
        X_0 s^T, (b, rows, c0), and X_1 t^T, (b, c1), as far as they were asked for.
    """
    batch, c, length = out.shape
    block, blocks = _padded(c), [_padded(s.x.shape[1]) for s in sources]
    tile, warps = _tile(out, max(block, *blocks, 1))
    widest = max(c, *(s.x.shape[1] for s in sources), 1)
    chunk, runs = _runs(out, widest, tile, batch * _ceil(c, block))
    vectors = out.new_empty((runs, batch, len(single), sources[0].x.shape[1]), dtype=torch.float32) if single else None
    others = None if other is None else out.new_empty((runs, batch, sources[1].x.shape[1]), dtype=torch.float32)
    x0, x1, x2 = (*(s.x for s in sources), None, None, None)[:3]
    p0, p1, p2 = (*(s.p for s in sources), None, None, None)[:3]
    maps = [d for _, d in weights] + [*single] + ([] if other is None else [other])
    with _device(out):
        kernels.mix[(runs, _ceil(c, block), batch)](
            out, residual, bias, *(*(w.contiguous() for w, _ in weights), None, None)[:2],
            *(*(d for _, d in weights), None, None)[:2], *(*single, None, None)[:2], other, vectors, others,
            x0, x1, x2, p0, p1, p2, c, *(*(s.x.shape[1] for s in sources), 1, 1, 1)[:3], length, chunk,
            maps[0].stride(0) if maps else 0, *((0, 0) if bias is None else bias.stride()), *out.stride(),
            *_strides(residual), *_strides(x0), *_strides(x1), *_strides(x2),
            *_strides(p0), *_strides(p1), *_strides(p2),
            SINGLE=len(single), HOIST=sums_fit(sources), INTERPRETED=INTERPRETED,
            BM=block, **dict(zip(("B0", "B1", "B2"), (*blocks, 16, 16, 16), strict=False)), BL=tile, num_warps=warps,
        )  # fmt: skip
    return None if vectors is None else vectors.sum(0), None if others is None else others.sum(0)


def sums_fit(sources: Sequence[Source]) -> bool:
    """Return whether a program of `mix` reads all channels of the sources, and so can return sums over them."""
    kept = sum(_padded(s.x.shape[1]) for s in sources if s.p is not None)
    return kept <= 2 * BLOCK and all(s.x.shape[1] <= BLOCK for s in sources)


def _map_and_center(x: Tensor | Centered) -> tuple[Tensor, Tensor | None]:
    return (x, None) if isinstance(x, Tensor) else (x.maps, x.center.float().contiguous())


def _parts(out: Tensor, blocks: int) -> Tensor:
    """Return memory for the parts of a projection, (blocks, b, voxels): its own where there is one block."""
    return out[None] if blocks == 1 else out.new_empty((blocks, *out.shape))


def _runs(x: Tensor, channels: int, tile: int, others: int) -> tuple[int, int]:
    """Return voxels per program, in whole tiles, and the number of such runs; `others` programs share each run."""
    length = x.shape[2]
    processors = 1 if INTERPRETED else torch.cuda.get_device_properties(x.device).multi_processor_count
    runs = max(1, PROGRAMS * processors // others)
    chunk = max(_ceil(length, runs), VOXELS_PER_CHANNEL * channels)
    chunk = _ceil(chunk, tile) * tile
    return chunk, _ceil(length, chunk)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _padded(channels: int) -> int:
    """Return a block of channels that tensor cores take, a power of two from 16."""
    return min(BLOCK, max(16, 1 << (channels - 1).bit_length()))


def _tile(x: Tensor, block: int, exact: bool = False) -> tuple[int, int]:
    """Return voxels at a time and warps per program: of the sizes tried, those that let most programs run at once."""
    tile = 128 if block == 16 else 64
    return tile // 2 if exact or x.dtype == torch.float32 else tile, 8 if block > 32 else 4


def _strides(x: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if x is None else x.stride()


def _device(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, not on that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
