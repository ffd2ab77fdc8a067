"""The four passes over the maps in plain PyTorch, in chunks of voxels that stay in the cache.

Everything as long as the volume is read or written here and in `triton_passes`, nowhere else. `Passes` in
`crossattn3d.kernels` says what each function takes and returns.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

#: Voxels at a time.
CHUNK = 16384


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
    batch, dtype = u.shape[0], sum_dtype(u)
    exact = torch.float64 if need_norms else dtype
    cu, ce, length = u.shape[1] + 1, e.shape[1] + 1, u[0, 0].numel()
    ue = u.new_zeros((batch, cu, ce), dtype=exact) if want_gram else None
    uu = u.new_zeros((batch, cu, cu), dtype=exact) if want_gram and need_norms else None
    ee = u.new_zeros((batch, ce, ce), dtype=exact) if want_gram and need_norms else None
    qkv = u.new_empty((batch, 3, length), dtype=dtype) if wq is not None else None
    for i in range(batch):
        for part in chunks(length):
            un, en = _with_ones(_rows(u)[i, :, part], dtype), _with_ones(_rows(e)[i, :, part], dtype)
            if ue is not None:
                ux, ex = un.to(exact), en.to(exact)
                ue[i].addmm_(ux, ex.mT)
                if uu is not None and ee is not None:
                    uu[i].addmm_(ux, ux.mT)
                    ee[i].addmm_(ex, ex.mT)
            if qkv is not None and wq is not None and wk is not None and wv is not None:
                torch.mv(un.mT, wq, out=qkv[i, 0, part])
                torch.mm(torch.stack((wk, wv)), en, out=qkv[i, 1:, part])
    return ue, uu, ee, qkv


def apply(e: Tensor, p: Tensor | None, bias: Tensor, o: Tensor | None, wo: Tensor | None, u: Tensor | None) -> Tensor:
    """p E + bias + wo (x) o + U, in the dtype and memory format of `e`; `p`, `o` and `u` may be missing."""
    batch, dtype = e.shape[0], sum_dtype(e)
    out = torch.empty_like(e)
    if out.shape[1] != bias.shape[1]:
        out = _empty_of_width(e, bias.shape[1])
    for i in range(batch):
        for part in chunks(e[0, 0].numel()):
            y = bias[i, :, None].expand(-1, part.stop - part.start)
            if p is not None:
                y = torch.addmm(y, p[i], _rows(e)[i, :, part].to(dtype))
            if o is not None and wo is not None:
                y = torch.addcmul(y, wo[:, None], o[i, part])
            if u is not None:
                y = y + _rows(u)[i, :, part]
            _rows(out)[i, :, part] = y
    return out


def reduce_backward(
    dout: Tensor, e: Tensor, o: Tensor | None, wo: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """dp, dbias, dwo and do from the gradient of what `apply` returns."""
    batch, dtype = dout.shape[0], sum_dtype(dout)
    c, ce, length = dout.shape[1], e.shape[1], e[0, 0].numel()
    # One product for dp, dbias and dwo: dout [E; 1; o]^T.
    sums = dout.new_zeros((batch, c, ce + 1 + (o is not None)), dtype=dtype)
    do = dout.new_empty((batch, length), dtype=dtype) if o is not None else None
    for i in range(batch):
        for part in chunks(length):
            d, en = _rows(dout)[i, :, part].to(dtype), _with_ones(_rows(e)[i, :, part], dtype)
            if o is not None and do is not None and wo is not None:
                en = torch.cat((en, o[i, None, part]))
                torch.mv(d.mT, wo, out=do[i, part])
            sums[i].addmm_(d, en.mT)
    dwo = sums[:, :, ce + 1].sum(0) if o is not None else None
    return sums[:, :, :ce], sums[:, :, ce], dwo, do


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
    batch, dtype = u.shape[0], sum_dtype(u)
    du, de = torch.empty_like(u), torch.empty_like(e)
    dwq = u.new_zeros(u.shape[1] + 1, dtype=dtype) if dqkv is not None else None
    dwkv = u.new_zeros((e.shape[1] + 1, 2), dtype=dtype) if dqkv is not None else None
    for i in range(batch):
        for part in chunks(u[0, 0].numel()):
            d = _rows(dout)[i, :, part].to(dtype)
            un, en = _with_ones(_rows(u)[i, :, part], dtype), _with_ones(_rows(e)[i, :, part], dtype)
            x, y = torch.zeros_like(un[:-1]), torch.zeros_like(en[:-1])
            if due is not None:
                x.addmm_(due[i, :-1].to(dtype), en)
                y.addmm_(due[i, :, :-1].mT.to(dtype), un)
            if duu is not None and dee is not None:
                x.addmm_((duu[i] + duu[i].mT)[:-1].to(dtype), un)
                y.addmm_((dee[i] + dee[i].mT)[:-1].to(dtype), en)
            if p is not None:
                y.addmm_(p[i].mT, d)
            if dqkv is not None and wq is not None and wk is not None and wv is not None:
                x.addmm_(wq[:-1, None], dqkv[i, :1, part])
                y.addmm_(torch.stack((wk, wv), 1)[:-1], dqkv[i, 1:, part])
                if dwq is not None and dwkv is not None:
                    dwq.addmv_(un, dqkv[i, 0, part])
                    dwkv.addmm_(en, dqkv[i, 1:, part].mT)
            if residual:
                x += d
            _rows(du)[i, :, part], _rows(de)[i, :, part] = x, y
    if dwkv is None:
        return du, de, None, None, None
    return du, de, dwq, dwkv[:, 0], dwkv[:, 1]


def sum_dtype(x: Tensor) -> torch.dtype:
    """What sums over voxels are kept in: float64 for float64 maps, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def chunks(length: int) -> Iterator[slice]:
    """All voxels, `CHUNK` at a time."""
    for start in range(0, length, CHUNK):
        yield slice(start, min(start + CHUNK, length))


def _rows(x: Tensor) -> Tensor:
    """Channels x voxels; a view of contiguous and of channels_last_3d maps alike."""
    return x.flatten(2)


def _with_ones(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.cat((x.to(dtype), x.new_ones((1, x.shape[1]), dtype=dtype)))


def _empty_of_width(e: Tensor, channels: int) -> Tensor:
    """A map as `e` with another number of channels, in its memory format."""
    last = e.is_contiguous(memory_format=torch.channels_last_3d) and not e.is_contiguous()
    layout = torch.channels_last_3d if last else torch.contiguous_format
    return torch.empty((e.shape[0], channels, *e.shape[2:]), dtype=e.dtype, device=e.device, memory_format=layout)
