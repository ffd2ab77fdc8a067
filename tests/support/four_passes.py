"""The four passes over one primitive, with plain tensors in and out: what tests compare with formulas."""

from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import RunPass, passes
from crossattn3d.kernels.centers import Centers
from crossattn3d.kernels.passes import ChannelSums
from crossattn3d.kernels.weights import SliceWeights

MaybeTensor = Tensor | None


class FourPasses(NamedTuple):
    """The passes of one primitive. Weights are all given or all None."""

    run_pass: RunPass

    def reduce(
        self, u: Tensor, e: Tensor, wq: MaybeTensor, wk: MaybeTensor, wv: MaybeTensor, need_norms: bool,
        want_gram: bool = True, centers: Centers | None = None,
    ) -> tuple[MaybeTensor, ...]:  # fmt: skip
        """U~ E~^T, U~ U~^T, E~ E~^T, and q, k, v."""
        weights = None if wq is None else SliceWeights(wq, torch.stack((wk, wv)), wq[:0])
        sums, single = passes.reduce(self.run_pass, u, e, centers, weights, gram=want_gram, norms=need_norms)
        return (*(sums or (None, None, None)), single)

    def apply(self, e: Tensor, p: MaybeTensor, bias: Tensor, o: MaybeTensor, wo: MaybeTensor, u: MaybeTensor) -> Tensor:
        """P E + bias + wo (x) o + U."""
        return passes.apply(self.run_pass, e, p, bias, None if o is None else (wo, o), u)

    def reduce_backward(
        self, dout: Tensor, u: Tensor, e: Tensor, wq: MaybeTensor, wk: MaybeTensor, wv: MaybeTensor, wo: MaybeTensor,
        centers: Centers | None = None,
    ) -> tuple[Tensor, Tensor, MaybeTensor]:  # fmt: skip
        """The gradients of P and the bias; q, k, do and v."""
        weights = None if wo is None else SliceWeights(wq, torch.stack((wk, wv)), wo)
        sums, single = passes.reduce_backward(self.run_pass, dout, u, e, centers, weights)
        return sums[:, :, 1:], sums[:, :, 0], single

    def apply_backward(
        self, dout: Tensor, u: Tensor, e: Tensor, p: MaybeTensor, due: MaybeTensor, duu: MaybeTensor, dee: MaybeTensor,
        single_maps: MaybeTensor, wq: MaybeTensor, wk: MaybeTensor, wv: MaybeTensor, residual: bool,
    ) -> tuple[MaybeTensor, ...]:  # fmt: skip
        """The gradients of the maps, of the projections to one channel and of that from it."""
        dsums = None if due is None else ChannelSums(due, duu, dee)
        weights = None if single_maps is None else SliceWeights(wq, torch.stack((wk, wv)), wq[:0])
        du, de, dweights = passes.apply_backward(self.run_pass, dout, u, e, p, dsums, weights, single_maps, residual)
        if dweights is None:
            return du, de, None, None, None, None
        return du, de, dweights.q.sum(0), *dweights.kv.sum(0), dweights.out.sum(0)
