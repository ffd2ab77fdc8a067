"""The attention as one operation that PyTorch does not look into, with the gradients of `derivative`.

Where a gradient of the gradient may be asked for, or a transform of `torch.func` or forward-mode differentiation looks
into every operation, `composed` computes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels import composed
from crossattn3d.kernels.backends import implementation
from crossattn3d.kernels.derivative import Arguments, Sums, backward, forward
from crossattn3d.kernels.flops import tell_flop_counters
from crossattn3d.kernels.gate.mixture import channel_parameters, channel_tensors
from crossattn3d.kernels.layout import ContextMap, QueryMap, new_map, one_stride, sum_dtype, wide_dtype
from crossattn3d.kernels.modes import is_transformed, without_autocast
from crossattn3d.kernels.parameters import Attention, ChannelParameters, SliceParameters
from crossattn3d.kernels.passes import ChannelSums

OPTIONS = "Tensor[] channel, Tensor[] slices, str score_norm, bool residual, int slice_dim, str backend"
FORWARD, BACKWARD = "crossattn3d::attend", "crossattn3d::attend_backward"
SCHEMAS = {
    FORWARD: f"(Tensor query, Tensor context, {OPTIONS}) -> (Tensor, Tensor[])",
    BACKWARD: f"(Tensor dout, Tensor query, Tensor context, Tensor[] sums, {OPTIONS}) -> Tensor[]",
}
# Not `custom_op`, which imports PyTorch's compiler at the first call: that takes as long as importing PyTorch.
for name, schema in SCHEMAS.items():
    torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)


def cross_attention(
    query: QueryMap,
    context: ContextMap,
    channel: ChannelParameters | None,
    slices: SliceParameters | None,
    attention: Attention,
) -> Float[Tensor, "b c x y z"]:
    """Return O = CCA (+) SCA (+) U, the sum of the parts asked for."""
    tensors = [channel_tensors(channel), [p for p in slices or () if p is not None]]
    if is_transformed(query, context, *tensors[0], *tensors[1]):
        return composed.cross_attention(query, context, channel, slices, attention)
    tell_flop_counters()
    return cast("Tensor", torch.ops.crossattn3d.attend(query, context, *tensors, *attention)[0])


@torch.library.impl(FORWARD, "default")
def _(query: Tensor, context: Tensor, *given: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the output, and the sums for the backward pass."""
    u, e, arguments = one_stride(query), one_stride(context), _arguments(*given)
    with without_autocast(query):
        out, sums = forward(implementation(arguments[2], u, e), u, e, arguments)
    return out, [x for x in (*(sums.channel or ()), *sums.slices) if x is not None]


@torch.library.register_fake(FORWARD)  # type: ignore[untyped-decorator]
def _(query: Tensor, context: Tensor, *given: Any) -> tuple[Tensor, list[Tensor]]:
    u, e, (channel, slices, attention) = one_stride(query), one_stride(context), _arguments(*given)
    cu, ce, depth, count = u.shape[1] + 1, e.shape[1] + 1, e.shape[attention.slice_dim], _count(attention)
    dtype = wide_dtype(e.device) if count == 3 else sum_dtype(e)
    of_channel = [(cu, ce), (cu, cu), (ce, ce)][:count] if channel is not None else []
    of_slices = [(depth, depth), (depth,), (depth,)][:count] if slices is not None else []
    sums = [e.new_empty((len(e), *shape), dtype=dtype) for shape in of_channel + of_slices]
    bias = channel.v_bias if channel is not None else cast("SliceParameters", slices).out_bias
    return new_map(e, len(bias)), sums


@torch.library.impl(BACKWARD, "default")
def _(dout: Tensor, query: Tensor, context: Tensor, sums: Sequence[Tensor], *given: Any) -> list[Tensor]:
    """Return the gradients of the maps and of the parameters."""
    d, u, e = map(one_stride, (dout, query, context))
    channel, _, attention = arguments = _arguments(*given)
    count = 0 if channel is None else _count(attention)
    split = Sums(None if channel is None else ChannelSums(*sums[:count]), sums[count:])
    with without_autocast(dout):
        return backward(implementation(attention, u, e), d, u, e, arguments, split)


@torch.library.register_fake(BACKWARD)  # type: ignore[untyped-decorator]
def _(_dout: Tensor, query: Tensor, context: Tensor, _sums: Sequence[Tensor], *given: Any) -> list[Tensor]:
    maps = [new_map(one_stride(x), x.shape[1]) for x in (query, context)]
    channel, slices, *_ = given
    return maps + [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (*channel, *slices)]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    query, context, channel, slices, *ctx.options = inputs
    ctx.counts = len(channel), len(slices)
    ctx.save_for_backward(query, context, *channel, *slices, *output[1])


def _differentiate(ctx: Any, dout: Tensor, _dsums: list[Tensor]) -> tuple[Any, ...]:
    query, context, *others = ctx.saved_tensors
    of_channel, of_slices = ctx.counts
    channel, slices = others[:of_channel], others[of_channel : of_channel + of_slices]
    if torch.is_grad_enabled() or is_transformed(dout, query, context, *others):

        def compute(inputs: list[Tensor]) -> Tensor:
            query, context, *others = inputs
            given = _arguments(others[:of_channel], others[of_channel:], *ctx.options)
            return composed.cross_attention(query, context, *given)

        gradients = composed.differentiable_gradients(compute, dout, [query, context, *channel, *slices])
    else:
        sums = others[of_channel + of_slices :]
        tell_flop_counters()
        gradients = torch.ops.crossattn3d.attend_backward(dout, query, context, sums, channel, slices, *ctx.options)
    du, de, *rest = gradients
    # Lists, as the arguments are: what Dynamo of PyTorch 2.9 makes of `rest` is a tuple.
    return du, de, list(rest[:of_channel]), list(rest[of_channel:]), *(None for _ in ctx.options)


def _refuse(_ctx: Any, *_gradients: Any) -> Any:
    raise ValueError(
        "attend_backward: expected no derivative of a gradient that was recorded without it; got one; record that "
        "derivative instead"
    )


torch.library.register_autograd(FORWARD, _differentiate, setup_context=_setup_context)
# Programs that others have recorded call it where gradients are enabled.
torch.library.register_autograd(BACKWARD, _refuse)


def _arguments(channel: Sequence[Tensor], slices: Sequence[Tensor], *options: Any) -> Arguments:
    """Return what `cross_attention` was called with from what the operation takes."""
    return channel_parameters(channel), SliceParameters(*slices) if slices else None, Attention(*options)


def _count(attention: Attention) -> int:
    """Return how many sums each half has."""
    return 3 if attention.score_norm == "cosine" else 1
