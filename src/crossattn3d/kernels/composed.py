"""The same attention, exactly, without ever forming Q, K and V.

With U~ = [U; 1], E~ = [1; E] and the biases as a column of the weights, the channel scores are

    Q K^T = W~q (U~ E~^T) W~k^T,      M V = (M Wv) E + M bv,

so one pass over U and E yields a small Gram matrix and one pass over E the output. The norms that `cosine`
needs are diag(W~q U~ U~^T W~q^T) and diag(W~k E~ E~^T W~k^T). The three maps of the slice attention have one
channel each. Autograd differentiates it as often as is needed, and it exports to standard operators.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.centers import shifted_bias
from crossattn3d.kernels.gate.mixture import bias_and_p
from crossattn3d.kernels.layout import ContextMap, QueryMap, from_slices, to_slices, wide_dtype
from crossattn3d.kernels.modes import without_autocast
from crossattn3d.kernels.parameters import Attention, ChannelParameters, ScoreNorm, SliceParameters
from crossattn3d.kernels.softmax import Scores, attention_map

#: Of a row of ones.
Place = Literal["first", "last"]


def channel_attention(
    query: QueryMap, context: ContextMap, channel: ChannelParameters, score_norm: ScoreNorm
) -> Float[Tensor, "b c c"]:
    """Return M of Eq. 2, channels x channels."""
    u, e = _rows(query), _rows(context)
    dtype = u.dtype
    cosine = score_norm == "cosine"
    if cosine:
        # Short queries and keys of strongly correlated features are differences of large sums: in float32 the
        # squared norms could even come out negative.
        u, e = u.to(wide_dtype(u.device)), e.to(wide_dtype(e.device))
    # Constants, since the result does not depend on them.
    of_u, of_e = (x.detach().sum(-1) / _at_least_one(x.shape[-1]) for x in (u, e))
    u, e = u - of_u[:, :, None], e - of_e[:, :, None]
    q_bias = shifted_bias(channel.q_weight, channel.q_bias, of_u, u.dtype)[:, :, None]
    k_bias = shifted_bias(channel.k_weight, channel.k_bias, of_e, u.dtype)[:, :, None]
    q, k = (x.to(u.dtype).expand(u.shape[0], -1, -1) for x in (channel.q_weight, channel.k_weight))
    wq, wk = torch.cat([q, q_bias], 2), torch.cat([k_bias, k], 2)
    squares = None
    if cosine:
        squares = (
            projected_squares(wq, _gram(u, u, "last", "last")),
            projected_squares(wk, _gram(e, e, "first", "first")),
        )
    # Not `mT`, which the older export to ONNX does not know.
    products = wq @ _gram(u, e, "last", "first") @ wk.transpose(-2, -1)
    return attention_map(Scores(products, u.shape[-1], score_norm, squares, channel.temperature)).to(dtype)


def slice_attention(
    query: QueryMap, context: ContextMap, slices: SliceParameters, score_norm: ScoreNorm, slice_dim: int
) -> Float[Tensor, "b d d"]:
    """Return the softmax of Eq. 4, slices x slices."""
    u, e = _rows(query), _rows(context)
    q = _sliced(u, slices.q_weight, slices.q_bias, query, slice_dim)
    k = _sliced(e, slices.k_weight, slices.k_bias, context, slice_dim)
    squares = None
    if score_norm == "cosine":
        q, k = q.to(wide_dtype(q.device)), k.to(wide_dtype(k.device))
        squares = q.square().sum(-1), k.square().sum(-1)
    products = q @ k.transpose(-2, -1)
    return attention_map(Scores(products, q.shape[-1], score_norm, squares, slices.temperature)).to(u.dtype)


def cross_attention(
    query: QueryMap,
    context: ContextMap,
    channel: ChannelParameters | None,
    slices: SliceParameters | None,
    attention: Attention,
) -> Float[Tensor, "b c x y z"]:
    """Return O = CCA (+) SCA (+) U; the sum of the parts asked for."""
    e = _rows(context)
    out = _rows(query) if attention.residual else e.new_zeros(())
    if channel is not None:
        m = channel_attention(query, context, channel, attention.score_norm)
        values = torch.cat([channel.v_bias[:, None], channel.v_weight], 1).to(m.dtype)
        of_all = bias_and_p(channel, m, values)
        out = out + of_all[:, :, 1:] @ e + of_all[:, :, :1]
    if slices is not None:
        m = slice_attention(query, context, slices, attention.score_norm, attention.slice_dim)
        v = _sliced(e, slices.v_weight, slices.v_bias, context, attention.slice_dim)
        mixed = from_slices((m @ v)[:, None], context.shape[2:], attention.slice_dim)
        out = out + slices.out_weight.to(m.dtype) * mixed + slices.out_bias.to(m.dtype)[:, None]
    return out.to(context.dtype).reshape(*out.shape[:2], *context.shape[2:])


def differentiable_gradients(
    compute: Callable[[list[Tensor]], Tensor], dout: Tensor, inputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients of the inputs by autograd, which can be differentiated where gradients are enabled.

    Args:
        compute: returns the output from the inputs.
        dout: gradient of the output.
        inputs: those that require no gradient get None.
    """
    twice = torch.is_grad_enabled()
    with torch.enable_grad(), without_autocast(dout):
        # Views, because one tensor may be given twice.
        views = [x.view_as(x) for x in inputs]
        wanted = [x for x in views if x.requires_grad]
        found = iter(torch.autograd.grad(compute(views), wanted, dout, create_graph=twice, allow_unused=True))
    return [next(found) if x.requires_grad else None for x in views]


def _rows(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c l"]:
    """Return channels x voxels, in at least float32, since the sums over voxels pass the range of float16."""
    return (x.float() if x.element_size() < 4 else x).flatten(2)


def _at_least_one(size: Any) -> Any:
    """Return a size, 1 for 0; while a model is traced, it is a tensor."""
    return size.clamp(min=1) if isinstance(size, Tensor) else max(size, 1)


def _gram(
    a: Float[Tensor, "b m l"], b: Float[Tensor, "b n l"], one_of_a: Place, one_of_b: Place
) -> Float[Tensor, "b m+1 n+1"]:
    """Return A~ B~^T without appending the rows of ones: the products, the sums of rows, and the number of voxels."""
    of_a, of_b = a.sum(-1, keepdim=True), b.sum(-1)[:, None, :]
    length = a.new_full((a.shape[0], 1, 1), a.shape[-1])
    rows = [
        torch.cat(pair if one_of_b == "last" else pair[::-1], 2)
        for pair in ((a @ b.transpose(-2, -1), of_a), (of_b, length))
    ]
    return torch.cat(rows if one_of_a == "last" else rows[::-1], 1)


def projected_squares(weight: Float[Tensor, "*b o i"], gram: Float[Tensor, "b i i"]) -> Float[Tensor, "b o"]:
    """Return the squared length of each row of W~ x~, from the Gram matrix of x~."""
    return ((weight @ gram) * weight).sum(-1)


def _sliced(
    rows: Float[Tensor, "b i l"], weight: Float[Tensor, "1 i"], bias: Float[Tensor, "1"], x: Tensor, slice_dim: int
) -> Float[Tensor, "b d p"]:
    """Project to one channel; slices become the rows."""
    single = weight.to(rows.dtype) @ rows + bias.to(rows.dtype)[:, None]
    return to_slices(single, x.shape[2:], slice_dim)[:, 0]
