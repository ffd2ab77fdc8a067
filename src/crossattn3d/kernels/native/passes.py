"""The four passes over the maps in C++, each one call of `run_pass`.

`Passes` in `crossattn3d.kernels` says what each function takes and returns. Rows are stacked so that every product
takes rows that follow each other.
"""

import torch
from torch import Tensor

from crossattn3d.kernels.native.build import library
from crossattn3d.kernels.native.tiles import TYPES, Gram, Mixture, Ones, run_pass
from crossattn3d.kernels.streaming import columns, new_map, sum_dtype


def supports(u: Tensor, e: Tensor) -> str | None:
    """None if maps like these can be passed over here, else why not."""
    for x in (u, e):
        if x.device.type != "cpu":
            return f"maps on {x.device.type}"
        if x.dtype not in TYPES:
            return f"maps of {x.dtype}"
    loaded = library()
    return loaded if isinstance(loaded, str) else None


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
    rows_u, rows_e = u.flatten(2), e.flatten(2)
    (batch, cu, length), ce = rows_u.shape, e.shape[1]
    # U, 1, E: U~ are the first rows, and E~ the last, but with the ones first.
    dtype = torch.float64 if need_norms else sum_dtype(u)
    grams = [Gram(0, cu + 1, cu, ce + 1)] if want_gram else []
    if want_gram and need_norms:
        grams += [Gram(0, cu + 1, 0, cu + 1), Gram(cu, ce + 1, cu, ce + 1)]
    qkv, mixtures = None, []
    if wq is not None and wk is not None and wv is not None:
        qkv = u.new_empty((batch, 3, length), dtype=sum_dtype(u))
        mixtures = [
            Mixture(wq.expand(batch, 1, -1), 0, qkv[:, :1]),
            Mixture(_ones_first(wk, wv).expand(batch, -1, -1), cu, qkv[:, 1:]),
        ]
    sums = [g.to(dtype) for g in run_pass([rows_u, Ones(), rows_e], grams, mixtures, dtype)]
    ue = sums[0].roll(-1, 2) if sums else None
    uu, ee = (sums[1], sums[2].roll((-1, -1), (1, 2))) if len(sums) == 3 else (None, None)
    return ue, uu, ee, qkv


def apply(e: Tensor, p: Tensor | None, bias: Tensor, o: Tensor | None, wo: Tensor | None, u: Tensor | None) -> Tensor:
    """P E + bias + wo (x) o + U, in the dtype and memory format of `e`; `p`, `o` and `u` may be missing."""
    out = new_map(e, bias.shape[1])
    matrix = torch.cat(([] if p is None else [p]) + [columns(bias, [] if wo is None else [wo])], dim=2)
    inputs: list[Tensor | Ones] = [] if p is None else [e.flatten(2)]
    inputs += [Ones(), *([] if o is None else [o[:, None]]), *([] if u is None else [u.flatten(2)])]
    run_pass(inputs, [], [Mixture(matrix, 0, out.flatten(2), None if u is None else matrix.shape[2])], sum_dtype(e))
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
    (batch, c), cu, ce, dtype = dout.shape[:2], u.shape[1], e.shape[1], sum_dtype(e)
    rows_d, rows_u, rows_e = dout.flatten(2), u.flatten(2), e.flatten(2)
    if wq is None or wk is None or wv is None or wo is None:
        sums = run_pass([rows_d, Ones(), rows_e], [Gram(0, c, c, ce + 1)], [], dtype)[0].to(dtype)
        return sums[:, :, 1:], sums[:, :, 0], None
    singles = e.new_empty((batch, 4, rows_e.shape[2]), dtype=dtype)
    at_d = cu + 1 + ce
    mixtures = [
        Mixture(wq.expand(batch, 1, -1), 0, singles[:, :1]),
        Mixture(_ones_first(wk, wv).expand(batch, -1, -1), cu, singles[:, 1::2]),
        Mixture(wo.expand(batch, 1, -1), at_d, singles[:, 2:3]),
    ]
    grams = [Gram(at_d, c, cu, ce + 1)]
    sums = run_pass([rows_u, Ones(), rows_e, rows_d], grams, mixtures, dtype)[0].to(dtype)
    return sums[:, :, 1:], sums[:, :, 0], singles


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
    (batch, cu), ce, c, dtype = u.shape[:2], e.shape[1], dout.shape[1], sum_dtype(u)
    du, de, of_slices = new_map(u, cu), new_map(e, ce), singles is not None
    # dq, E, 1, dk, dv, U, dO, o: dU comes of the first rows, dE of those from the ones on; for `cosine` of more.
    at = dict(zip(("dq", "e", "ones", "dkv", "u", "dout"), _starts(of_slices, ce, 1, 2 * of_slices, cu), strict=True))
    inputs: list[Tensor | Ones] = [e.flatten(2), Ones(), u.flatten(2), dout.flatten(2)]
    if singles is not None:
        inputs = [singles[:, :1], *inputs[:2], singles[:, 1:3], *inputs[2:], singles[:, 3:]]
    of_u = u.new_zeros((batch, cu, at["dout"]), dtype=dtype)
    of_e = u.new_zeros((batch, ce, at["dout"] + c), dtype=dtype)
    if due is not None:
        of_u[:, :, at["e"] : at["e"] + ce + 1] += due[:, :-1]
        of_e[:, :, at["u"] : at["u"] + cu] += due[:, :-1, :-1].mT
        of_e[:, :, at["ones"]] += due[:, -1, :-1]
    if duu is not None and dee is not None:
        both = (duu + duu.mT)[:, :-1].to(dtype), (dee + dee.mT)[:, :-1].to(dtype)
        of_u[:, :, at["u"] : at["u"] + cu] += both[0][:, :, :-1]
        of_u[:, :, at["ones"]] += both[0][:, :, -1]
        of_e[:, :, at["e"] : at["e"] + ce + 1] += both[1]
    if p is not None:
        of_e[:, :, at["dout"] :] += p.mT
    grams = []
    if wq is not None and wk is not None and wv is not None:
        of_u[:, :, 0] += wq[:-1]
        of_e[:, :, at["dkv"]] += wk[:-1]
        of_e[:, :, at["dkv"] + 1] += wv[:-1]
        grams = [Gram(0, 1, at["ones"], 3 + cu), Gram(at["dkv"], 2, at["e"], ce + 1)]
        grams += [Gram(at["dout"] + c, 1, at["dout"], c)]
    last_u, first_e = at["dout"] if duu is not None else at["dkv"], at["e"] if dee is not None else at["ones"]
    mixtures = [
        Mixture(of_u[:, :, :last_u], 0, du.flatten(2), at["dout"] if residual else None),
        Mixture(of_e[:, :, first_e:], first_e, de.flatten(2)),
    ]
    sums = [g.sum(0).to(dtype) for g in run_pass(inputs, grams, mixtures, dtype)]
    if not sums:
        return du, de, None, None, None, None
    dwq = torch.cat((sums[0][0, 3:], sums[0][0, :1]))
    return du, de, dwq, sums[1][0], sums[1][1], sums[2][0]


def _ones_first(*weights: Tensor) -> Tensor:
    """Rows of weights with what multiplies the ones in front instead of at the end."""
    return torch.stack(weights).roll(1, 1)


def _starts(*rows: int) -> list[int]:
    starts = [0]
    for n in rows:
        starts.append(starts[-1] + n)
    return starts
