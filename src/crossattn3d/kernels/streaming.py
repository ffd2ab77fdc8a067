"""The four passes over the maps in plain PyTorch, in chunks of voxels that stay in the cache.

`Passes` in `crossattn3d.kernels` says what each function takes and returns. Chunks are read and written where they
are; a copy is made, of one chunk, only of maps in half precision and for sums in float64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

#: How many values of the wider map are a chunk, where it is copied: 1 MiB of float32.
COPIED = 2**18
#: The same where it is not. Twice as fast with more threads than processors as `COPIED`, and as fast otherwise.
CHUNK = 2**20

Product = tuple[Tensor, Tensor]


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
    rows_u, rows_e = _rows(u), _rows(e)
    (batch, cu, length), ce = rows_u.shape, e.shape[1]
    dtype = torch.float64 if need_norms else sum_dtype(u)

    def sums(m: int, n: int, wanted: bool) -> Tensor | None:
        return u.new_zeros((batch, m + 1, n + 1), dtype=dtype) if wanted else None

    ue, uu, ee = sums(cu, ce, want_gram), sums(cu, cu, want_gram and need_norms), sums(ce, ce, want_gram and need_norms)
    qkv = u.new_empty((batch, 3, length), dtype=sum_dtype(u)) if wq is not None else None
    wkv = torch.stack((wk, wv)) if wk is not None and wv is not None else None
    for i, part in _chunks(dtype, u, e):
        x, y = rows_u[i, :, part].to(dtype), rows_e[i, :, part].to(dtype)
        if ue is not None:
            _add_gram(ue[i], x, y)
        if uu is not None and ee is not None:
            _add_gram(uu[i], x, x)
            _add_gram(ee[i], y, y)
        if qkv is not None and wq is not None and wkv is not None:
            _combine(qkv[i, :1, part], [(wq[None, :-1], x)], wq[-1:, None])
            _combine(qkv[i, 1:, part], [(wkv[:, :-1], y)], wkv[:, -1:])
    return ue, uu, ee, qkv


def apply(e: Tensor, p: Tensor | None, bias: Tensor, o: Tensor | None, wo: Tensor | None, u: Tensor | None) -> Tensor:
    """P E + bias + wo (x) o + U, in the dtype and memory format of `e`; `p`, `o` and `u` may be missing."""
    dtype, out = sum_dtype(e), new_map(e, bias.shape[1])
    rows_out, rows_e, rows_u = _rows(out), _rows(e), None if u is None else _rows(u)
    of_bias = columns(bias, [] if wo is None else [wo])
    for i, part in _chunks(dtype, e, out):
        products = [(of_bias[i], _below_ones(bias, part, None if o is None else o[i, None, part]))]
        if p is not None:
            products.append((p[i], rows_e[i, :, part].to(dtype)))
        _combine(rows_out[i, :, part], products, None if rows_u is None else rows_u[i, :, part])
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
    (batch, c), ce, dtype = dout.shape[:2], e.shape[1], sum_dtype(e)
    dp, dbias = dout.new_zeros((batch, c, ce), dtype=dtype), dout.new_zeros((batch, c), dtype=dtype)
    rows_d, rows_u, rows_e = _rows(dout), _rows(u), _rows(e)
    singles = None if wo is None else e.new_empty((batch, 4, rows_e.shape[2]), dtype=dtype)
    for i, part in _chunks(dtype, u, e, dout):
        d, y = rows_d[i, :, part].to(dtype), rows_e[i, :, part].to(dtype)
        dp[i].addmm_(d, y.mT)
        dbias[i] += d.sum(1)
        if singles is not None and wq is not None and wk is not None and wv is not None and wo is not None:
            _combine(singles[i, :1, part], [(wq[None, :-1], rows_u[i, :, part].to(dtype))], wq[-1:, None])
            _combine(singles[i, 1:2, part], [(wk[None, :-1], y)], wk[-1:, None])
            _combine(singles[i, 2:3, part], [(wo[None], d)])
            _combine(singles[i, 3:, part], [(wv[None, :-1], y)], wv[-1:, None])
    return dp, dbias, singles


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
    """The gradients of both maps, of the three projections to one channel and of that from it."""
    (batch, cu), ce, dtype = u.shape[:2], e.shape[1], sum_dtype(u)
    du, de = new_map(u, cu), new_map(e, ce)
    rows_u, rows_e, rows_d, rows_du, rows_de = (_rows(x) for x in (u, e, dout, du, de))
    # For each gradient, the matrices, with biases as the last column, and which map each multiplies: U, E or dO.
    for_u = [] if due is None else [(due[:, :-1], 1)]
    for_e = [] if due is None else [(due[:, :, :-1].mT, 0)]
    if duu is not None and dee is not None:
        for_u.append(((duu + duu.mT)[:, :-1], 0))
        for_e.append(((dee + dee.mT)[:, :-1], 1))
    bias_u = sum((m[:, :, -1] for m, _ in for_u), start=u.new_zeros((batch, cu), dtype=dtype)).to(dtype)
    bias_e = sum((m[:, :, -1] for m, _ in for_e), start=e.new_zeros((batch, ce), dtype=dtype)).to(dtype)
    columns_u = columns(bias_u, [w[:-1] for w in (wq,) if w is not None])
    columns_e = columns(bias_e, [w[:-1] for w in (wk, wv) if w is not None])
    for_u = [(m[:, :, :-1].to(dtype), k) for m, k in for_u]
    for_e = [(m[:, :, :-1].to(dtype), k) for m, k in for_e] + ([] if p is None else [(p.mT, 2)])
    dwq, dwkv = u.new_zeros((cu + 1, 1), dtype=dtype), e.new_zeros((ce + 1, 2), dtype=dtype)
    dwo = dout.new_zeros(dout.shape[1], dtype=dtype)
    for i, part in _chunks(dtype, u, e, dout):
        maps = [rows[i, :, part].to(dtype) for rows in (rows_u, rows_e, rows_d)]
        dq, dkv = (None, None) if singles is None else (singles[i, :1, part], singles[i, 1:3, part])
        for dw, x, single in ((dwq, maps[0], dq), (dwkv, maps[1], dkv)):
            if single is not None:
                dw[:-1].addmm_(x, single.mT)
                dw[-1] += single.sum(1)
        if singles is not None:
            dwo.addmv_(maps[2], singles[i, 3, part])
        of_u = [(columns_u[i], _below_ones(bias_u, part, dq)), *((m[i], maps[k]) for m, k in for_u)]
        of_e = [(columns_e[i], _below_ones(bias_e, part, dkv)), *((m[i], maps[k]) for m, k in for_e)]
        _combine(rows_du[i, :, part], of_u, maps[2] if residual else None)
        _combine(rows_de[i, :, part], of_e)
    if singles is None:
        return du, de, None, None, None, None
    return du, de, dwq[:, 0], dwkv[:, 0], dwkv[:, 1], dwo


def sum_dtype(x: Tensor) -> torch.dtype:
    """What sums over voxels are kept in: float64 for float64 maps, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def new_map(like: Tensor, channels: int) -> Tensor:
    """An uninitialized map of another number of channels in the dtype and memory format of `like`."""
    last = _rows(like).stride(1) < _rows(like).stride(2)
    return torch.empty(
        (like.shape[0], channels, *like.shape[2:]),
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last_3d if last else torch.contiguous_format,
    )


def _rows(x: Tensor) -> Tensor:
    """Channels x voxels; a view of contiguous and of channels_last_3d maps alike."""
    return x.flatten(2)


def _chunks(dtype: torch.dtype, *maps: Tensor) -> Iterator[tuple[int, slice]]:
    """Sample and run of voxels of every chunk, when computing in a dtype."""
    length, values = _rows(maps[0]).shape[2], CHUNK if maps[0].dtype == dtype else COPIED
    step = max(1, values // max(x.shape[1] for x in maps))
    for i in range(maps[0].shape[0]):
        for start in range(0, length, step):
            yield i, slice(start, min(start + step, length))


def columns(bias: Tensor, weights: list[Tensor]) -> Tensor:
    """The bias of each sample and channel, (b, c), and weights of all samples, (c,), as the columns of a matrix."""
    return torch.stack((bias, *(w.expand_as(bias) for w in weights)), dim=2)


def _below_ones(like: Tensor, part: slice, single: Tensor | None) -> Tensor:
    """What a matrix of `columns` multiplies: ones, and single-channel maps below."""
    ones = like.new_ones((1, part.stop - part.start))
    return ones if single is None else torch.cat((ones, single))


def _add_gram(gram: Tensor, x: Tensor, y: Tensor) -> None:
    """Add [x; 1] [y; 1]^T. BLAS is a third slower on the matrices with the row of ones, as their sides are odd."""
    gram[:-1, :-1].addmm_(x, y.mT)
    gram[:-1, -1] += x.sum(1)
    gram[-1, :-1] += y.sum(1)
    gram[-1, -1] += x.shape[1]


def _combine(out: Tensor, products: list[Product], add: Tensor | None = None) -> None:
    """Write `add` + the sum of the products, each of a matrix and a chunk, computed in the dtype of the chunk."""
    dtype = products[0][1].dtype
    (a, b), *others = [(a.to(dtype), b) for a, b in products]
    y = out if out.dtype == dtype else out.new_empty(out.shape, dtype=dtype)
    if add is None:
        torch.mm(a, b, out=y)
    else:
        torch.addmm(add.to(dtype), a, b, out=y)
    for a, b in others:
        y.addmm_(a, b)
    if y is not out:
        out.copy_(y)
