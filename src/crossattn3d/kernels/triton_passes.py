"""The four passes over the maps in Triton; `Passes` in `crossattn3d.kernels` says what each takes and returns.

Maps are read through their strides, whatever the memory format. Sums are deterministic: each program of a kernel
writes its own slot, and PyTorch adds the slots. The matrices are split into two parts of the maps' precision, so
that half precision is lost in the maps alone.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import triton_kernels

#: Untyped, as all of Triton.
kernels: Any = triton_kernels
INTERPRETED: bool = kernels.INTERPRETED
#: Programs per multiprocessor, enough for the memory to be busy and for the last ones not to be waited for.
PROGRAMS = 8
#: Voxels of a map that one program reads, at least, for each channel of the partial sums that it writes.
VOXELS_PER_CHANNEL = 4
#: Channels that a program takes at a time; with this, all fits into 99 KiB of shared memory, which every GPU has.
BLOCK = 64

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Projections(NamedTuple):
    """Projections to one channel: weights with their bias last, of A alone or of A, B and B, and where they go.

    Args:
        weights: one or three.
        out: (b, rows, voxels), float32.
        rows: of `out`, one for each of the weights.
    """

    weights: tuple[Tensor, ...]
    out: Tensor
    rows: tuple[int, ...]


class Source(NamedTuple):
    """A map and the matrix it is multiplied with, (b, c, channels of the map)."""

    x: Tensor
    p: Tensor | None


def supports(u: Tensor, e: Tensor) -> str | None:
    """Why these maps cannot be computed here; None if they can."""
    if u.dtype != e.dtype or u.dtype not in DTYPES:
        return f"maps are {u.dtype} and {e.dtype}, not both float32, bfloat16 or float16"
    if u[0, 0].numel() >= 2**30:
        return f"maps have {u[0, 0].numel()} voxels, 2**30 or more"
    if kernels.VERSION < (3, 5):
        return f"Triton {'.'.join(map(str, kernels.VERSION))} is older than 3.5"
    if INTERPRETED:
        return None
    if not u.is_cuda or not e.is_cuda:
        return f"maps are on {u.device.type} and {e.device.type}, not on CUDA"
    if torch.version.hip is not None:
        return "AMD GPUs are untested"
    major, minor = torch.cuda.get_device_capability(u.device)
    if major < 8:
        return f"the GPU's compute capability is {major}.{minor}, less than 8.0"
    return None


def reduce(
    u: Tensor,
    e: Tensor,
    wq: Tensor | None,
    wk: Tensor | None,
    wv: Tensor | None,
    need_norms: bool,
    want_gram: bool = True,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gram matrices of the maps with a row of ones appended, and the three single-channel projections."""
    weights = None if wq is None or wk is None or wv is None else (wq, wk, wv)
    exact = want_gram and need_norms
    length = u[0, 0].numel()
    qkv = None if weights is None else u.new_empty((u.shape[0], 3, length), dtype=torch.float32)
    into = None if weights is None or qkv is None else Projections(weights, qkv, (0, 1, 2))
    ue, of_u, of_e, _ = _moments(u, e, into, gram=want_gram, exact=exact)
    if ue is None:
        return None, None, None, qkv
    uu = ee = None
    if exact:
        uu, ee = (_bordered(_moments(x, x, exact=True)[0], s, s, length) for x, s in ((u, of_u), (e, of_e)))
    return _bordered(ue, of_u, of_e, length), uu, ee, qkv


def apply(e: Tensor, p: Tensor | None, bias: Tensor, o: Tensor | None, wo: Tensor | None, u: Tensor | None) -> Tensor:
    """p E + bias + wo (x) o + U, in the dtype and memory format of `e`; `p`, `o` and `u` may be missing."""
    out = _empty_map(e, bias.shape[1])
    sources = [Source(e, p)]
    if o is None or wo is None:
        _mix(out, sources, bias, residual=u)
    else:
        _mix(out, sources, bias, (wo,), o[:, None], residual=u)
    return out


def reduce_backward(
    dout: Tensor,
    u: Tensor,
    e: Tensor,
    wq: Tensor | None,
    wk: Tensor | None,
    wv: Tensor | None,
    wo: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of P and the bias; q, k, do and v."""
    if wq is None or wk is None or wv is None or wo is None:
        dp, dbias, _, _ = _moments(dout, e)
        return _known(dp), dbias, None
    singles = e.new_empty((e.shape[0], 4, e[0, 0].numel()), dtype=torch.float32)
    unbiased = torch.cat((wo, wo.new_zeros(1)))
    dp, dbias, _, _ = _moments(dout, e, Projections((unbiased, wk, wv), singles, (2, 1, 3)))
    _moments(u, None, Projections((wq,), singles, (0,)))
    return _known(dp), dbias, singles


def apply_backward(
    dout: Tensor,
    u: Tensor,
    e: Tensor,
    p: Tensor | None,
    due: Tensor | None,
    duu: Tensor | None,
    dee: Tensor | None,
    singles: Tensor | None,
    wq: Tensor | None,
    wk: Tensor | None,
    wv: Tensor | None,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of both maps, of the three projections to one channel and of that from it.

    The kernel that writes dU reads E and the other one U and dO: each also sums the projections' gradients of what it
    reads.
    """
    du, de = _empty_map(u, u.shape[1]), _empty_map(e, e.shape[1])
    of_u, of_e = [Source(e, None)], [Source(u, None)]
    to_u, to_e = [], []
    if due is not None:
        of_u, of_e = [Source(e, due[:, :-1, :-1])], [Source(u, due[:, :-1, :-1].mT)]
        to_u, to_e = [due[:, :-1, -1]], [due[:, -1, :-1]]
    if p is not None:
        of_e.append(Source(dout, p.mT))
    if duu is not None and dee is not None:
        for x, gradient, sources, bias in ((u, duu, of_u, to_u), (e, dee, of_e, to_e)):
            both = gradient + gradient.mT
            sources.append(Source(x, both[:, :-1, :-1]))
            bias.append(both[:, :-1, -1])
    bias_u, bias_e = (sum(bias[1:], start=bias[0]) if bias else None for bias in (to_u, to_e))
    q, kv = slice(0, 1), slice(1, 3)
    if singles is None or wq is None or wk is None or wv is None:
        _mix(du, of_u, bias_u, residual=dout if residual else None)
        _mix(de, of_e, bias_e)
        return du, de, None, None, None, None
    of_kv, _ = _mix(du, of_u, bias_u, (wq,), singles, q, kv, residual=dout if residual else None)
    of_q, of_o = _mix(de, of_e, bias_e, (wk, wv), singles, kv, q, other=None if p is None else 3)
    if of_o is None:
        of_o = _moments(dout, None, maps=singles[:, 3:])[3][:, 0]
    weights, biases = (of_q[:, 0], of_kv[:, 0], of_kv[:, 1]), singles[:, :3].sum((0, 2))
    dwq, dwk, dwv = (torch.cat((w.sum(0), biases[i : i + 1])) for i, w in enumerate(weights))
    return du, de, dwq, dwk, dwv, of_o.sum(0)


def _moments(
    a: Tensor,
    b: Tensor | None,
    projections: Projections | None = None,
    *,
    maps: Tensor | None = None,
    gram: bool = True,
    exact: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """A B^T, the row sums of A and B, and A maps^T (b, rows, ca); projections are written to where they go."""
    batch, ca, cb = a.shape[0], a.shape[1], 1 if b is None else b.shape[1]
    block_a, block_b = _padded(ca), _padded(cb)
    tile, warps = _tile(a, max(block_a, block_b), exact)
    blocks_a, blocks_b = _ceil(ca, block_a), _ceil(cb, block_b)
    rows_a, length = a.flatten(2), a[0, 0].numel()
    rows_b = None if b is None else b.flatten(2)
    chunk, runs = _runs(a, max(ca, cb), tile, batch * blocks_a * blocks_b)
    dtype = torch.float64 if exact else torch.float32
    count = 0 if maps is None else maps.shape[1]
    maps = None if maps is None else maps.contiguous()
    sums = a.new_empty((runs, batch, ca, cb), dtype=dtype) if gram and b is not None else None
    vectors = a.new_empty((runs, batch, 2 + count, max(ca, cb)), dtype=dtype)
    wa = wk = wv = space = None
    row_a, row_k, row_v, count_rows = 0, 0, 0, 0
    if projections is not None:
        wa, wk, wv = (*(w.contiguous() for w in projections.weights), None, None)[:3]
        row_a, row_k, row_v = (*projections.rows, 0, 0)[:3]
        out, blocks = projections.out, max(blocks_a, blocks_b)
        count_rows = out.shape[1]
        # Each block of channels has a part of every projection; of several, the wider map has more than the other.
        space = out[None] if blocks == 1 else out.new_zeros((blocks, *out.shape))
    with _device(a):
        kernels.moments[(runs, blocks_a * blocks_b, batch)](
            rows_a, rows_b, wa, wk, wv, maps, sums, vectors, space,
            ca, cb, max(ca, cb), length, chunk, count * length, *rows_a.stride(), *_strides(rows_b),
            MAPS=count, ROWS=count_rows, ROW_A=row_a, ROW_K=row_k, ROW_V=row_v, EXACT=exact, INTERPRETED=INTERPRETED,
            BA=block_a, BB=block_b, BL=tile, num_warps=warps,
        )  # fmt: skip
    if projections is not None and space is not None and len(space) > 1:
        for row in projections.rows:
            torch.sum(space[:, :, row], 0, out=projections.out[:, row])
    total = vectors.sum(0)
    return None if sums is None else sums.sum(0), total[:, 0, :ca], total[:, 1, :cb], total[:, 2:, :ca]


def _mix(
    out: Tensor,
    sources: list[Source],
    bias: Tensor | None,
    weights: tuple[Tensor, ...] = (),
    maps: Tensor | None = None,
    added: slice = slice(0, 1),
    summed: slice = slice(0, 0),
    *,
    other: int | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Write the sum of P_s X_s, the bias, `weights` (x) maps[added] and the residual.

    Returns:
        X_0 maps[summed]^T, (b, rows, c0), and X_1 maps[other]^T, (b, c1), or None if it is not a by-product.
    """
    batch, c, length = out.shape[0], out.shape[1], out[0, 0].numel()
    block, blocks = _padded(c), [_padded(s.x.shape[1]) for s in sources]
    kept = sum(k for k, s in zip(blocks, sources, strict=True) if s.p is not None)
    hoist = kept <= 2 * BLOCK and all(s.x.shape[1] <= BLOCK for s in sources)
    count = summed.stop - summed.start if hoist else 0
    tile, warps = _tile(out, max(block, *blocks))
    widest = max(c, *(s.x.shape[1] for s in sources))
    chunk, runs = _runs(out, widest, tile, batch * _ceil(c, block))
    maps = None if maps is None else maps.contiguous()
    vectors = out.new_empty((runs, batch, count, sources[0].x.shape[1]), dtype=torch.float32) if count else None
    others = None
    if hoist and other is not None:
        others = out.new_empty((runs, batch, sources[1].x.shape[1]), dtype=torch.float32)
    xs = [s.x.flatten(2) if s.p is not None or (i == 0 and count) else None for i, s in enumerate(sources)]
    x0, x1, x2 = (*xs, None, None)[:3]
    p0, p1, p2 = (*(s.p for s in sources), None, None)[:3]
    widths = (*(s.x.shape[1] for s in sources), 1, 1)[:3]
    b0, b1, b2 = (*blocks, 16, 16)[:3]
    w0, w1 = (*(w.contiguous() for w in weights), None, None)[:2]
    rows, added_to = out.view(batch, c, length), None if residual is None else residual.flatten(2)
    with _device(out):
        kernels.mix[(runs, _ceil(c, block), batch)](
            rows, added_to, bias, w0, w1, maps, vectors, others, x0, x1, x2, p0, p1, p2, c, *widths, length, chunk,
            0 if maps is None else maps.stride(0), *((0, 0) if bias is None else bias.stride()), *rows.stride(),
            *_strides(added_to), *_strides(x0), *_strides(x1), *_strides(x2),
            *_strides(p0), *_strides(p1), *_strides(p2),
            MAP=added.start, WEIGHTS=count, WEIGHT=summed.start, OTHER=other or 0, HOIST=hoist, INTERPRETED=INTERPRETED,
            BM=block, B0=b0, B1=b1, B2=b2, BL=tile, num_warps=warps,
        )  # fmt: skip
    of_other = None if others is None else others.sum(0)
    if vectors is not None:
        return vectors.sum(0), of_other
    if maps is not None and summed.stop > summed.start:
        return _moments(sources[0].x, None, maps=maps[:, summed])[3], of_other
    return out.new_empty((batch, 0, sources[0].x.shape[1]), dtype=torch.float32), of_other


def _runs(x: Tensor, channels: int, tile: int, others: int) -> tuple[int, int]:
    """Voxels per program, in whole tiles, and how many such runs there are; `others` programs share each run."""
    length = x[0, 0].numel()
    processors = 1 if INTERPRETED else torch.cuda.get_device_properties(x.device).multi_processor_count
    runs = max(1, PROGRAMS * processors // others)
    chunk = max(_ceil(length, runs), VOXELS_PER_CHANNEL * channels)
    chunk = _ceil(chunk, tile) * tile
    return chunk, _ceil(length, chunk)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _padded(channels: int) -> int:
    """A block of channels: what tensor cores take, a power of two from 16."""
    return min(BLOCK, max(16, 1 << (channels - 1).bit_length()))


def _tile(x: Tensor, block: int, exact: bool = False) -> tuple[int, int]:
    """Voxels at a time, and warps per program: of the sizes tried, those that leave the most programs at once."""
    tile = 128 if block == 16 else 64
    return tile // 2 if exact or x.dtype == torch.float32 else tile, 8 if block > 32 else 4


def _bordered(gram: Tensor | None, a: Tensor, b: Tensor, length: int) -> Tensor:
    """[A; 1] [B; 1]^T from A B^T and the row sums of both."""
    corner = a.new_full((a.shape[0], 1, 1), length)
    lower = torch.cat((b[:, None, :], corner), 2)
    return torch.cat((torch.cat((_known(gram), a[:, :, None]), 2), lower), 1)


def _empty_map(e: Tensor, channels: int) -> Tensor:
    """A map as `e` with another number of channels, in its memory format."""
    last = e.is_contiguous(memory_format=torch.channels_last_3d) and not e.is_contiguous()
    layout = torch.channels_last_3d if last else torch.contiguous_format
    return torch.empty((e.shape[0], channels, *e.shape[2:]), dtype=e.dtype, device=e.device, memory_format=layout)


def _strides(x: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if x is None else x.stride()


def _known(x: Tensor | None) -> Tensor:
    assert x is not None
    return x


def _device(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, not on that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
