"""Launches of the two Triton kernels, each for one sum of products or one mixture of feature maps.

Maps are read through their strides, whatever the memory format. Sums are deterministic: each run of voxels has a slot
of its own, which holds all sums of a pass, and PyTorch adds the slots. The matrices are split into two parts of the
maps' precision, so that half precision is lost in the maps alone.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import Centered
from crossattn3d.kernels.triton import kernels as _kernels
from crossattn3d.kernels.triton import tuning

#: Untyped, as all of Triton.
kernels: Any = _kernels
INTERPRETED: bool = kernels.INTERPRETED
#: Programs per multiprocessor, enough for the memory to be busy and for the last ones not to be waited for.
PROGRAMS = 8
#: Voxels of a map that one program reads, at least, for each channel of the partial sums that it writes.
VOXELS_PER_CHANNEL = 4


class Slots(NamedTuple):
    """Memory for the sums of each run of voxels, (runs, b, values), and the number of voxels of a run."""

    memory: Tensor
    chunk: int


class Projection(NamedTuple):
    """A projection to one channel.

    Attributes:
        weight: (b, c).
        bias: (b,), or None.
        out: destination, (b, voxels), float32, contiguous along the voxels.
    """

    weight: Tensor
    bias: Tensor | None
    out: Tensor


class Places(NamedTuple):
    """Where in a slot the products of A and B are.

    Attributes:
        gram: the first of A B^T.
        row: from a row of it to the next.
        a: the first sum of A's rows, `row` apart; below 0 for nowhere.
        b: the first sum of B's rows; below 0 for nowhere.
        voxels: their number; below 0 for nowhere.
    """

    gram: int
    row: int
    a: int
    b: int
    voxels: int


class Weighted(NamedTuple):
    """A single-channel map, (b, voxels), and where in a slot its products with a map, or its sum, are."""

    row: Tensor
    place: int


class Source(NamedTuple):
    """A map, (b, n, voxels), and the matrix it is multiplied with, (b, c, n)."""

    x: Tensor
    p: Tensor


def slots_for(like: Tensor, values: int, blocks: int, dtype: torch.dtype) -> Slots:
    """Return slots of a number of values for maps like this; `blocks` programs share each run."""
    batch, widest, _ = like.shape
    chunk, runs = _runs(like, widest, batch * blocks)
    return Slots(like.new_empty((runs, batch, values), dtype=dtype), chunk)


def moments(
    a: Tensor | Centered,
    b: Tensor | Centered | None = None,
    of_a: Projection | None = None,
    of_b: Sequence[Projection] = (),
    *,
    weighted: Sequence[Weighted] = (),
    places: Places | None = None,
    slots: Slots | None = None,
    exact: bool = False,
) -> None:
    """Write sums over the voxels of feature maps, and projections of them.

    Args:
        a: (b, ca, voxels).
        b: (b, cb, voxels).
        of_a: projection of `a`.
        of_b: two projections of `b`, or none.
        weighted: up to two single-channel maps, of one batch stride, that `a` is multiplied with.
        places: of A B^T; None if it is not wanted.
        slots: what sums are written to; None if there are none.
        exact: whether sums are in float64, as the slots then are.
    """
    a, center_a = _map_and_center(a)
    b, center_b = (None, None) if b is None else _map_and_center(b)
    batch, ca, length = a.shape
    cb = 1 if b is None else b.shape[1]
    plan = tuning.of_moments(a, ca, cb, exact)
    blocks_a, blocks_b = _ceil(ca, plan.a), _ceil(cb, plan.b)
    chunk, runs = _runs(a, max(ca, cb), batch * blocks_a * blocks_b)
    if slots is not None:
        chunk, runs = slots.chunk, len(slots.memory)
    projections = [(of_a, blocks_a), *((of, blocks_b) for of in (*of_b, None, None)[:2])]
    # Each block of channels has a part of every projection.
    parts = [None if of is None else _parts(of.out, blocks) for of, blocks in projections]
    weights = [None if of is None else of.weight for of, _ in projections]
    biases = [None if of is None else of.bias for of, _ in projections]
    assert all(w is None or w.stride(1) == 1 for w in weights), "a projection is a row of a matrix"
    rows, at = [s.row for s in weighted], [s.place for s in weighted]
    with _device(a):
        kernels.moments[(blocks_a * blocks_b, runs, batch)](
            a, b, center_a, center_b, *weights, *biases, *parts, *(*rows, None, None)[:2],
            None if slots is None else slots.memory, ca, cb, length, chunk,
            0 if slots is None else slots.memory.shape[2], *(places or (0, 0, 0, 0, 0)), *(*at, 0, 0)[:2],
            *(0 if x is None else x.stride(0) for x in (*weights[:2], *biases[:2])),
            *(stride for part in parts for stride in ((0, 0) if part is None else part.stride()[:2])),
            rows[0].stride(0) if rows else 0, *a.stride(), *_strides(b),
            SINGLE=len(rows), GRAM=places is not None, EXACT=exact, INTERPRETED=INTERPRETED,
            BA=plan.a, BB=plan.b, **_options(plan.tiles),
        )  # fmt: skip
    for (of, blocks), part in zip(projections, parts, strict=True):
        if of is not None and part is not None and blocks > 1:
            torch.sum(part, 0, out=of.out)


def mix(
    out: Tensor,
    sources: Sequence[Source],
    bias: Tensor | None = None,
    weights: Sequence[tuple[Tensor, Weighted]] = (),
    residual: Tensor | None = None,
    weighted: Sequence[Weighted] = (),
    other: Weighted | None = None,
    slots: Slots | None = None,
) -> None:
    """Write a mixture of feature maps, and sums of products of what is read for it.

    Args:
        out: destination, (b, c, voxels).
        sources: up to three maps with their matrices.
        bias: (b, c).
        weights: up to two vectors, (b, c), with the single-channel maps, (b, voxels), that they multiply; where the
            sums of those go, below 0 for nowhere.
        residual: (b, c, voxels), is added.
        weighted: up to two single-channel maps to be multiplied with the first source; only where `sums_fit`.
        other: the same for the second.
        slots: what sums are written to.
    """
    batch, c, length = out.shape
    widths = [s.x.shape[1] for s in sources]
    plan = tuning.of_mix(out, c, widths)
    chunk, runs = _runs(out, max(c, *widths, 1), batch * _ceil(c, plan.out))
    summed = [*weighted, *([] if other is None else [other])]
    if slots is not None and (summed or any(single.place >= 0 for _, single in weights)):
        chunk, runs = slots.chunk, len(slots.memory)
    else:
        slots = None
    x0, x1, x2 = (*(s.x for s in sources), None, None, None)[:3]
    p0, p1, p2 = (*(s.p for s in sources), None, None, None)[:3]
    w0, w1 = (*(w for w, _ in weights), None, None)[:2]
    rows = [single.row for _, single in weights] + [single.row for single in summed]
    with _device(out):
        kernels.mix[(_ceil(c, plan.out), runs, batch)](
            out, residual, bias, w0, w1, *(*(single.row for _, single in weights), None, None)[:2],
            *(*(single.row for single in weighted), None, None)[:2], None if other is None else other.row,
            None if slots is None else slots.memory, x0, x1, x2, p0, p1, p2, c, *(*widths, 1, 1, 1)[:3], length, chunk,
            0 if slots is None else slots.memory.shape[2], *(*(single.place for single in weighted), 0, 0)[:2],
            0 if other is None else other.place, *(*(single.place for _, single in weights), -1, -1)[:2],
            rows[0].stride(0) if rows else 0, *((0, 0) if bias is None else bias.stride()),
            *((0, 0) if w0 is None else w0.stride()), *((0, 0) if w1 is None else w1.stride()), *out.stride(),
            *_strides(residual), *_strides(x0), *_strides(x1), *_strides(x2),
            *_strides(p0), *_strides(p1), *_strides(p2),
            SINGLE=len(weighted), HOIST=plan.whole, INTERPRETED=INTERPRETED,
            BM=plan.out, **dict(zip(("B0", "B1", "B2"), (*plan.sources, 16, 16, 16), strict=False)),
            **_options(plan.tiles),
        )  # fmt: skip


def sums_fit(c: int, sources: Sequence[Source]) -> bool:
    """Return whether a program of `mix` reads all channels of the sources, and so can write sums over them."""
    return bool(sources) and tuning.of_mix(sources[0].x, c, [s.x.shape[1] for s in sources]).whole


def blocks_of(x: Tensor, widths: Iterable[int], exact: bool = False) -> int:
    """Return how many programs of `moments` share a run of maps like `x` of these widths."""
    return math.prod(_ceil(width, tuning.largest_block(x, exact)) for width in widths)


def _map_and_center(x: Tensor | Centered) -> tuple[Tensor, Tensor | None]:
    return (x, None) if isinstance(x, Tensor) else (x.maps, x.center.float().contiguous())


def _parts(out: Tensor, blocks: int) -> Tensor:
    """Return memory for the parts of a projection, (blocks, b, voxels): its own where there is one block."""
    return out[None] if blocks == 1 else out.new_empty((blocks, *out.shape))


def _runs(x: Tensor, channels: int, others: int) -> tuple[int, int]:
    """Return voxels per program, in whole tiles of any size, and the number of such runs; `others` share each run."""
    length = x.shape[2]
    processors = 1 if INTERPRETED else torch.cuda.get_device_properties(x.device).multi_processor_count
    runs = max(1, PROGRAMS * processors // others)
    chunk = max(_ceil(length, runs), VOXELS_PER_CHANNEL * channels)
    chunk = _ceil(chunk, tuning.MOST_VOXELS) * tuning.MOST_VOXELS
    return chunk, _ceil(length, chunk)


def _options(tiles: tuning.Tiles) -> dict[str, int]:
    return {"BL": tiles.voxels, "num_warps": tiles.warps, "num_stages": tiles.stages}


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _strides(x: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if x is None else x.stride()


def _device(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, not on that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
