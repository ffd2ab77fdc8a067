"""The four passes as plain formulas, as the docstrings of `passes` have them."""

from typing import Any

import torch
from torch import Tensor

Results = tuple[Tensor | None, ...]


def rows(x: Tensor) -> Tensor:
    return x.flatten(2)


def with_ones(u: Tensor, e: Tensor, centers: Any = None) -> tuple[Tensor, Tensor]:
    """[U; 1] and [1; E], of the maps less their centers."""
    of_u, of_e = (rows(x) for x in (u, e))
    if centers is not None:
        of_u, of_e = (x - center[:, :, None] for x, center in zip((of_u, of_e), centers, strict=True))
    return torch.cat((of_u, torch.ones_like(of_u[:, :1])), 1), torch.cat((torch.ones_like(of_e[:, :1]), of_e), 1)


class Formulas:
    """The four passes, as docstrings of `passes` have them."""

    @staticmethod
    def reduce(
        u: Tensor, e: Tensor, wq: Any, wk: Any, wv: Any, need_norms: bool, want_gram: bool = True, centers: Any = None
    ) -> Results:
        u1, e1 = with_ones(u, e, centers)
        qkv = None if wq is None else torch.stack((wq @ u1, wk @ e1, wv @ e1), 1)
        if not want_gram:
            return None, None, None, qkv
        return u1 @ e1.mT, u1 @ u1.mT if need_norms else None, e1 @ e1.mT if need_norms else None, qkv

    @staticmethod
    def apply(e: Tensor, p: Any, bias: Tensor, o: Any, wo: Any, u: Any) -> Results:
        out = bias[:, :, None].expand(-1, -1, rows(e).shape[2])
        out = out if p is None else out + p @ rows(e)
        out = out if o is None else out + wo[:, None] * o[:, None]
        out = out if u is None else out + rows(u)
        return (out.reshape(*bias.shape, *e.shape[2:]),)

    @staticmethod
    def reduce_backward(
        dout: Tensor, u: Tensor, e: Tensor, wq: Any, wk: Any, wv: Any, wo: Any, centers: Any = None
    ) -> Results:
        d = rows(dout)
        u1, e1 = with_ones(u, e, centers)
        single_maps = None if wo is None else torch.stack((wq @ u1, wk @ e1, wo @ d, wv @ e1), 1)
        return d @ e1[:, 1:].mT, d.sum(2), single_maps

    @staticmethod
    def apply_backward(
        dout: Tensor, u: Tensor, e: Tensor, p: Any, due: Any, duu: Any, dee: Any, single_maps: Any, wq: Any, wk: Any,
        wv: Any, residual: bool,
    ) -> Results:  # fmt: skip
        u1, e1 = with_ones(u, e)
        du, de = torch.zeros_like(rows(u)), torch.zeros_like(rows(e))
        if due is not None:
            du, de = du + due[:, :-1] @ e1, de + due[:, :, 1:].mT @ u1
        if duu is not None:
            du, de = du + (duu + duu.mT)[:, :-1] @ u1, de + (dee + dee.mT)[:, 1:] @ e1
        de = de if p is None else de + p.mT @ rows(dout)
        du = du + rows(dout) if residual else du
        weights: Results = (None, None, None, None)
        if single_maps is not None:
            dq, dk, dv, o = single_maps.split(1, 1)
            du, de = du + wq[:-1, None] * dq, de + wk[1:, None] * dk + wv[1:, None] * dv
            weights = (u1 * dq).sum((0, 2)), (e1 * dk).sum((0, 2)), (e1 * dv).sum((0, 2)), (rows(dout) * o).sum((0, 2))
        return du.reshape(u.shape), de.reshape(e.shape), *weights
