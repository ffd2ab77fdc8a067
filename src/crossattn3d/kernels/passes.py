"""The four passes over the maps, two forward and two backward, each one call of the primitive.

U~ = [U; 1] and E~ = [1; E], stacked with one row of ones between U and E; so every product takes rows that follow
each other, and every matrix is used as it comes out. Maps are (b, c, d, h, w) with one stride along their voxels.
Everything else is in the dtype of sums, float64 for float64 maps and else float32.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from crossattn3d.kernels import ONES, Centered, Gram, Input, Mixture, RunPass, SingleChannel, stacked_rows
from crossattn3d.kernels.centers import Centers
from crossattn3d.kernels.layout import new_map, sum_dtype, wide_dtype
from crossattn3d.kernels.weights import SliceWeights


class ChannelSums(NamedTuple):
    """U~ E~^T, (b, cu+1, 1+ce), and for `cosine` U~ U~^T and E~ E~^T; or their gradients, not always symmetric."""

    ue: Tensor
    uu: Tensor | None = None
    ee: Tensor | None = None


def reduce(
    run_pass: RunPass,
    u: Tensor,
    e: Tensor,
    centers: Centers | None,
    weights: SliceWeights | None,
    *,
    gram: bool,
    norms: bool = False,
) -> tuple[ChannelSums | None, Tensor | None]:
    """Return sums over voxels, and the single-channel projections, of the maps less their centers.

    Args:
        run_pass: the primitive.
        u: decoder map.
        e: encoder map.
        centers: of the maps; None for 0.
        weights: of the slice-wise half, if there is one, for the maps less their centers.
        gram: whether Gram matrices are returned.
        norms: whether they include those of each map with itself; all are then summed in float64.

    Returns:
        The Gram matrices; wq U~, wk E~ and wv E~, (b, 3, voxels).
    """
    of_u, of_e = _centered(u, e, centers)
    stack = Stack(u=of_u, ones=ONES, e=of_e)
    grams = [stack.gram("u ones", "ones e")] if gram else []
    if gram and norms:
        grams += [stack.gram("u ones", "u ones"), stack.gram("ones e", "ones e")]
    single, mixtures = None, []
    if weights is not None:
        single = u.new_empty((len(u), 3, u.shape[2:].numel()), dtype=sum_dtype(u))
        mixtures = stack.projections(weights, single[:, :1], single[:, 1:])
    sums = run_pass(stack.inputs, grams, mixtures, wide_dtype(u.device) if gram and norms else sum_dtype(u))
    if not gram:
        return None, single
    return ChannelSums(*sums), single


def apply(
    run_pass: RunPass,
    e: Tensor,
    p: Tensor | None,
    bias: Tensor,
    single: tuple[Tensor, Tensor] | None,
    residual: Tensor | None,
) -> Tensor:
    """Return P E + bias + wo (x) o + U, in the dtype and memory format of `e`.

    Args:
        run_pass: the primitive.
        e: encoder map.
        p: (b, c, ce).
        bias: (b, c).
        single: wo, (c,), and o, (b, voxels).
        residual: U, a map of c channels.
    """
    out = new_map(e, bias.shape[1])
    wo, o = (None, None) if single is None else (single[0][:, None], SingleChannel(single[1][:, None]))
    stack = Stack(
        ones=ONES, e=None if p is None else e.flatten(2), o=o, u=None if residual is None else residual.flatten(2)
    )
    mixture = stack.mixture(
        out.flatten(2), {"ones": bias[:, :, None], "e": p, "o": wo}, add=None if residual is None else "u"
    )
    run_pass(stack.inputs, [], [mixture], sum_dtype(e))
    return out


def reduce_backward(
    run_pass: RunPass, dout: Tensor, u: Tensor, e: Tensor, centers: Centers | None, weights: SliceWeights | None
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of what `apply` takes, as far as the gradient of the output alone decides them.

    Args:
        run_pass: the primitive.
        dout: gradient of the output, a map of c channels.
        u: decoder map.
        e: encoder map.
        centers: as in `reduce`; P mixes the encoder map less its center.
        weights: as in `reduce`.

    Returns:
        Gradients of [bias P], (b, c, 1+ce); q, k, do and v, (b, 4, voxels).
    """
    of_u, of_e = _centered(u, e, centers)
    stack = Stack(u=None if weights is None else of_u, ones=ONES, e=of_e, dout=dout.flatten(2))
    single, mixtures = None, []
    if weights is not None:
        single = e.new_empty((len(e), 4, e.shape[2:].numel()), dtype=sum_dtype(e))
        mixtures = stack.projections(weights, single[:, :1], single[:, 1::2])
        mixtures.append(stack.mixture(single[:, 2:3], {"dout": weights.out[..., None, :]}))
    (sums,) = run_pass(stack.inputs, [stack.gram("dout", "ones e")], mixtures, sum_dtype(e))
    return sums, single


def apply_backward(
    run_pass: RunPass,
    dout: Tensor,
    u: Tensor,
    e: Tensor,
    p: Tensor | None,
    dsums: ChannelSums | None,
    weights: SliceWeights | None,
    single: Tensor | None,
    residual: bool,
) -> tuple[Tensor, Tensor, SliceWeights | None]:
    """Return the gradients of the maps, and for each sample those of the slice-wise projections.

    Args:
        run_pass: the primitive.
        dout: gradient of the output.
        u: decoder map.
        e: encoder map.
        p: as in `apply`.
        dsums: gradients of the sums that `reduce` returned.
        weights: of the slice-wise half, if there is one.
        single: dq, dk, dv and o, (b, 4, voxels), if there are weights.
        residual: whether `apply` added U.
    """
    du, de = new_map(u, u.shape[1]), new_map(e, e.shape[1])
    for_u: dict[str, Tensor] = {}
    for_e: dict[str, Tensor] = {} if p is None else {"dout": p.mT}
    dq = dkv = o = None
    if dsums is not None:
        for_u |= {"ones": dsums.ue[:, :-1, :1], "e": dsums.ue[:, :-1, 1:]}
        for_e |= {"u": dsums.ue[:, :-1, 1:].mT, "ones": dsums.ue[:, -1:, 1:].mT}
        if dsums.uu is not None and dsums.ee is not None:
            uu, ee = dsums.uu + dsums.uu.mT, dsums.ee + dsums.ee.mT
            for_u |= {"u": uu[:, :-1, :-1], "ones": for_u["ones"] + uu[:, :-1, -1:]}
            for_e |= {"e": ee[:, 1:, 1:], "ones": for_e["ones"] + ee[:, 1:, :1]}
    if weights is not None and single is not None:
        dq, dkv, o = (SingleChannel(x) for x in (single[:, :1], single[:, 1:3], single[:, 3:]))
        for_u["dq"], for_e["dkv"] = weights.q[..., :-1, None], weights.kv[..., 1:].mT
    # dU is made of the last rows, dE of those up to the ones; for `cosine` of more.
    stack = Stack(dkv=dkv, dout=dout.flatten(2), u=u.flatten(2), ones=ONES, e=e.flatten(2), dq=dq, o=o)
    mixtures = [
        stack.mixture(du.flatten(2), for_u, add="dout" if residual else None),
        stack.mixture(de.flatten(2), for_e),
    ]
    grams = []
    if weights is not None:
        grams = [stack.gram("dq", "u ones"), stack.gram("dkv", "ones e"), stack.gram("o", "dout")]
    sums = run_pass(stack.inputs, grams, mixtures, sum_dtype(e))
    if not sums:
        return du, de, None
    dwq, dwkv, dwo = sums
    return du, de, SliceWeights(dwq[:, 0], dwkv, dwo[:, 0])


def _centered(u: Tensor, e: Tensor, centers: Centers | None) -> tuple[Input, Input]:
    of_u, of_e = u.flatten(2), e.flatten(2)
    return (of_u, of_e) if centers is None else (Centered(of_u, centers.u), Centered(of_e, centers.e))


class Stack:
    """Inputs of a pass under names, in the order in which they are stacked; those that are None are left out."""

    def __init__(self, **inputs: Input | None) -> None:
        given = {name: x for name, x in inputs.items() if x is not None}
        self.inputs = list(given.values())
        self.rows = dict(zip(given, stacked_rows(self.inputs), strict=True))
        self.numbers = {name: number for number, name in enumerate(given)}

    def gram(self, a: str, b: str) -> Gram:
        """Return the sums of products of the rows from the first to the last name in `a` with those in `b`."""
        of_a, of_b = ([self.rows[name] for name in names.split()] for names in (a, b))
        return Gram(of_a[0].start, of_a[-1].stop - of_a[0].start, of_b[0].start, of_b[-1].stop - of_b[0].start)

    def projections(self, weights: SliceWeights, q: Tensor, kv: Tensor) -> list[Mixture]:
        """Return the mixtures that write wq U~ to `q`, and wk E~ and wv E~ to `kv`."""
        of_u, of_e = weights.q[..., None, :], weights.kv
        return [
            self.mixture(q, {"u": of_u[..., :-1], "ones": of_u[..., -1:]}),
            self.mixture(kv, {"ones": of_e[..., :1], "e": of_e[..., 1:]}),
        ]

    def mixture(self, out: Tensor, columns: Mapping[str, Tensor | None], add: str | None = None) -> Mixture:
        """Return the mixture of named inputs, each with the columns of its matrix, (b, m, rows) or (m, rows)."""
        dtype, shape = sum_dtype(out), out.shape[:2]
        given = {self.numbers[name]: x.to(dtype).expand(*shape, -1) for name, x in columns.items() if x is not None}
        return Mixture(dict(sorted(given.items())), out, None if add is None else self.numbers[add])
