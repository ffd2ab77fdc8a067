"""The four passes over the maps in plain PyTorch, in chunks of voxels that stay in the cache.

`Passes` in `crossattn3d.kernels` says what each function takes and returns. A chunk is copied into a buffer with
rows to spare, for ones and for single-channel maps: row sums, biases and projections to or from a single channel
are then rows or columns of one matrix product.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from crossattn3d.kernels.pages import ask_for_large_pages

#: How many values of the wider map are a chunk: 1 MiB of float32.
CHUNK = 2**18


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
    (batch, cu, length), ce = _rows(u).shape, e.shape[1]
    dtype = torch.float64 if need_norms else sum_dtype(u)
    ue, uu, ee = (
        u.new_zeros((batch, m + 1, n + 1), dtype=dtype) if wanted else None
        for m, n, wanted in (
            (cu, ce, want_gram),
            (cu, cu, want_gram and need_norms),
            (ce, ce, want_gram and need_norms),
        )
    )
    qkv = ask_for_large_pages(u.new_empty((batch, 3, length), dtype=sum_dtype(u))) if wq is not None else None
    wkv = torch.stack((wk, wv)) if wk is not None and wv is not None else None
    rows_u, rows_e = _rows(u), _rows(e)
    for i, part in _chunks(u, e):
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
    out = ask_for_large_pages(new_map(e, bias.shape[1]))
    weights = [bias[:, :, None]] if p is None else [p, bias[:, :, None]]
    if wo is not None:
        weights.append(wo[None, :, None].expand_as(bias[:, :, None]))
    weight = torch.cat(weights, dim=2)
    # Without P, the chunk copied is of no channels.
    rows = _rows(e) if p is not None else _rows(e)[:, :0]
    buffer = _buffer(rows, 1 + (o is not None), sum_dtype(e), out)
    rows_out, rows_u = _rows(out), None if u is None else _rows(u)
    for i, part in _chunks(rows, out):
        y = _fill(buffer, rows[i, :, part], None if o is None else o[i, None, part])
        _combine(rows_out[i, :, part], [(weight[i], y)], None if rows_u is None else rows_u[i, :, part])
    return out


def reduce_backward(
    dout: Tensor, e: Tensor, o: Tensor | None, wo: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The gradients of `apply`, but for the maps; `do` is written over `o`."""
    (batch, c), ce, dtype = dout.shape[:2], e.shape[1], sum_dtype(e)
    dp, dbias = dout.new_zeros((batch, c, ce), dtype=dtype), dout.new_zeros((batch, c), dtype=dtype)
    dwo = None if wo is None else torch.zeros_like(wo)
    rows_d, rows_e = _rows(dout), _rows(e)
    for i, part in _chunks(e, dout):
        d = rows_d[i, :, part].to(dtype)
        dp[i].addmm_(d, rows_e[i, :, part].mT.to(dtype))
        dbias[i] += d.sum(1)
        if o is not None and wo is not None and dwo is not None:
            dwo.addmv_(d, o[i, part])
            torch.mv(d.mT, wo, out=o[i, part])
    return dp, dbias, dwo, o


def apply_backward(
    dout: Tensor,
    u: Tensor,
    e: Tensor,
    p: Tensor | None,
    due: Tensor | None,
    duu: Tensor | None,
    dee: Tensor | None,
    dqkv: Tensor | None,
    wq: Tensor | None,
    wk: Tensor | None,
    wv: Tensor | None,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of both maps, and of the three projections."""
    (batch, cu), ce, dtype = u.shape[:2], e.shape[1], sum_dtype(u)
    du, de = ask_for_large_pages(new_map(u, cu)), ask_for_large_pages(new_map(e, ce))
    single = dqkv is not None and wq is not None and wk is not None and wv is not None
    buffer_u, buffer_e = _buffer(u, 3 if single else 1, dtype, e, dout), _buffer(e, 2 if single else 1, dtype, u, dout)
    weights_u, weights_e = [], []
    if due is not None:
        weights_u, weights_e = [due[:, :-1].to(dtype)], [due[:, :, :-1].mT.to(dtype)]
    if wq is not None and wk is not None and wv is not None:
        weights_u.append(wq[:-1, None].expand(batch, -1, -1))
        weights_e.append(torch.stack((wk, wv), 1)[:-1].expand(batch, -1, -1))
    weight_u, weight_e = torch.cat(weights_u, 2), torch.cat(weights_e, 2)
    dwq, dwkv = u.new_zeros((cu + 1, 1), dtype=dtype), u.new_zeros((ce + 1, 2), dtype=dtype)
    rows_u, rows_e, rows_d, rows_du, rows_de = (_rows(x) for x in (u, e, dout, du, de))
    for i, part in _chunks(u, e, dout):
        d = rows_d[i, :, part].to(dtype)
        x = _fill(buffer_u, rows_u[i, :, part], None if dqkv is None else dqkv[i, 1:, part])
        y = _fill(buffer_e, rows_e[i, :, part], None if dqkv is None else dqkv[i, :1, part])
        if dqkv is not None:
            dwq.addmm_(x[: cu + 1], y[ce + 1 :].mT)
            dwkv.addmm_(y[: ce + 1], x[cu + 1 :].mT)
        for_u = [(weight_u[i], y[-weight_u.shape[2] :])]
        for_e = [(weight_e[i], x[-weight_e.shape[2] :])]
        if duu is not None and dee is not None:
            for_u.append(((duu[i] + duu[i].mT)[:-1].to(dtype), x[: cu + 1]))
            for_e.append(((dee[i] + dee[i].mT)[:-1].to(dtype), y[: ce + 1]))
        if p is not None:
            for_e.append((p[i].mT, d))
        _combine(rows_du[i, :, part], for_u, d if residual else None)
        _combine(rows_de[i, :, part], for_e)
    return (du, de, dwq[:, 0], dwkv[:, 0], dwkv[:, 1]) if single else (du, de, None, None, None)


def sum_dtype(x: Tensor) -> torch.dtype:
    """What sums over voxels are kept in: float64 for float64 maps, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def new_map(like: Tensor, channels: int) -> Tensor:
    """An uninitialised map of another number of channels in the dtype and memory format of `like`."""
    layout = torch.channels_last_3d if _channels_last(like) else torch.contiguous_format
    shape = (like.shape[0], channels, *like.shape[2:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _voxels(*maps: Tensor) -> int:
    """Voxels in a chunk."""
    return min(_rows(maps[0]).shape[2], max(1, CHUNK // max(x.shape[1] for x in maps)))


def _chunks(*maps: Tensor) -> Iterator[tuple[int, slice]]:
    """Sample and run of voxels of every chunk."""
    length, step = _rows(maps[0]).shape[2], _voxels(*maps)
    for i in range(maps[0].shape[0]):
        for start in range(0, length, step):
            yield i, slice(start, min(start + step, length))


def _rows(x: Tensor) -> Tensor:
    """Channels x voxels; a view of contiguous and of channels_last_3d maps alike."""
    return x.flatten(2)


def _channels_last(x: Tensor) -> bool:
    return _rows(x).stride(1) < _rows(x).stride(2)


def _buffer(x: Tensor, below: int, dtype: torch.dtype, *others: Tensor) -> Tensor:
    """Room for a chunk of `x`, laid out as `x`, and for some rows below it, the first of them ones."""
    rows, voxels = x.shape[1] + below, _voxels(x, *others)
    if _channels_last(x):
        buffer = torch.empty((voxels, rows), dtype=dtype, device=x.device).mT
    else:
        buffer = torch.empty((rows, voxels), dtype=dtype, device=x.device)
    buffer[x.shape[1]] = 1
    return buffer


def _fill(buffer: Tensor, x: Tensor, below: Tensor | None = None) -> Tensor:
    """The buffer with a chunk copied into it, and single-channel maps below the ones."""
    rows, voxels = x.shape
    filled = buffer[:, :voxels]
    filled[:rows] = x
    if below is not None:
        filled[rows + 1 :] = below
    return filled


def _add_gram(gram: Tensor, x: Tensor, y: Tensor) -> None:
    """Add [x; 1] [y; 1]^T. BLAS is a third slower on the matrices with the row of ones, as their sides are odd."""
    gram[:-1, :-1].addmm_(x, y.mT)
    gram[:-1, -1] += x.sum(1)
    gram[-1, :-1] += y.sum(1)
    gram[-1, -1] += x.shape[1]


def _combine(out: Tensor, products: list[tuple[Tensor, Tensor]], add: Tensor | None = None) -> None:
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
