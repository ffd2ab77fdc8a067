"""The factorised attention as one operation that PyTorch does not look into: `four_passes`, registered.

For the attention maps, and where a gradient of the gradient may be asked for, `plain` computes.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels import Passes, plain, streaming
from crossattn3d.kernels.four_passes import Call, ChannelSums, SliceSums, backward, forward, sum_dtype
from crossattn3d.kernels.native import passes as native
from crossattn3d.kernels.parameters import ChannelParameters, ScoreNorm, SliceParameters
from crossattn3d.kernels.plain import channel_attention, slice_attention

__all__ = ["PassesName", "channel_attention", "cross_attention", "slice_attention"]

#: Which module makes the passes.
PassesName = Literal["auto", "streaming", "native", "triton"]

#: Values of a map from which on `auto` takes native code: for a smaller one, building it would not be worth the wait.
NATIVE = 2**18

OPTIONS = "Tensor[] channel, Tensor[] slices, str score_norm, bool residual, int slice_dim, str passes"


def cross_attention(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    channel: ChannelParameters | None,
    slices: SliceParameters | None,
    *,
    score_norm: ScoreNorm,
    residual: bool,
    slice_dim: int,
    passes: PassesName = "auto",
) -> Float[Tensor, "b c x y z"]:
    """O = CCA (+) SCA (+) U: the sum of the parts asked for."""
    tensors = [[p for p in part or () if p is not None] for part in (channel, slices)]
    return cast("Tensor", _attend(query, context, *tensors, score_norm, residual, slice_dim, passes)[0])


@torch.library.custom_op(
    "crossattn3d::attend", mutates_args=(), schema=f"(Tensor query, Tensor context, {OPTIONS}) -> (Tensor, Tensor[])"
)
def _attend(
    query: Tensor, context: Tensor, channel: Sequence[Tensor], slices: Sequence[Tensor], *options: Any
) -> tuple[Tensor, list[Tensor]]:
    """The output, and the sums for the backward pass."""
    u, e = _one_stride(query), _one_stride(context)
    with torch.autocast(query.device.type, enabled=False):
        out, *sums = forward(_passes(options[-1], u, e), u, e, _call(channel, slices, options))
    return out, [x for part in sums for x in part or () if x is not None]


@_attend.register_fake
def _(
    query: Tensor, context: Tensor, channel: Sequence[Tensor], slices: Sequence[Tensor], *options: Any
) -> tuple[Tensor, list[Tensor]]:
    u, e, cosine = _one_stride(query), _one_stride(context), options[0] == "cosine"
    cu, ce, depth, dtype = u.shape[1] + 1, e.shape[1] + 1, e.shape[options[2]], sum_dtype(e)
    sums: list[Tensor] = []
    if channel:
        sizes = [(cu, ce), (cu, cu), (ce, ce)][: 3 if cosine else 1]
        sums += [e.new_empty((len(e), *size), dtype=torch.float64 if cosine else dtype) for size in sizes]
    if slices:
        of_slices = [(depth, depth), (depth,), (depth,)][: 3 if cosine else 1]
        sums += [e.new_empty((len(e), *size), dtype=dtype) for size in of_slices]
    return streaming.new_map(e, _width(channel, slices)), sums


@torch.library.custom_op(
    "crossattn3d::attend_backward",
    mutates_args=(),
    schema=f"(Tensor dout, Tensor query, Tensor context, Tensor[] sums, {OPTIONS}) -> Tensor[]",
)
def _attend_backward(
    dout: Tensor,
    query: Tensor,
    context: Tensor,
    sums: Sequence[Tensor],
    channel: Sequence[Tensor],
    slices: Sequence[Tensor],
    *options: Any,
) -> list[Tensor]:
    """The gradients of the maps and of the parameters."""
    d, u, e = _one_stride(dout), _one_stride(query), _one_stride(context)
    of_channels = 0 if not channel else 3 if options[0] == "cosine" else 1
    split = (
        ChannelSums(*sums[:of_channels]) if channel else None,
        SliceSums(*sums[of_channels:]) if slices else None,
    )
    with torch.autocast(dout.device.type, enabled=False):
        return backward(_passes(options[-1], u, e), d, u, e, _call(channel, slices, options), *split)


@_attend_backward.register_fake
def _(
    _dout: Tensor,
    query: Tensor,
    context: Tensor,
    _sums: Sequence[Tensor],
    channel: Sequence[Tensor],
    slices: Sequence[Tensor],
    *_options: Any,
) -> list[Tensor]:
    maps = [streaming.new_map(_one_stride(x), x.shape[1]) for x in (query, context)]
    return maps + [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (*channel, *slices)]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    query, context, channel, slices, *ctx.options = inputs
    ctx.counts = len(channel), len(slices)
    ctx.save_for_backward(query, context, *channel, *slices, *output[1])


def _differentiate(ctx: Any, dout: Tensor, _dsums: list[Tensor]) -> tuple[Any, ...]:
    query, context, *others = ctx.saved_tensors
    of_channel, of_slices = ctx.counts
    channel, slices = others[:of_channel], others[of_channel : of_channel + of_slices]
    if torch.is_grad_enabled():
        gradients = _plain_gradients(dout, [query, context, *channel, *slices], ctx)
    else:
        sums = others[of_channel + of_slices :]
        gradients = _attend_backward(dout, query, context, sums, channel, slices, *ctx.options)
    du, de, *rest = gradients
    return du, de, rest[:of_channel], rest[of_channel:], *(None for _ in ctx.options)


_attend.register_autograd(_differentiate, setup_context=_setup_context)


def _plain_gradients(dout: Tensor, inputs: list[Tensor], ctx: Any) -> list[Tensor | None]:
    """The gradients as something that can be differentiated again."""
    # Views, because one tensor may be given as both maps.
    query, context, *others = views = [x.view_as(x) for x in inputs]
    call = _call(others[: ctx.counts[0]], others[ctx.counts[0] :], ctx.options)
    out = plain.cross_attention(
        query,
        context,
        call.channel,
        call.slices,
        score_norm=call.score_norm,
        residual=call.residual,
        slice_dim=call.slice_dim,
    )
    wanted = [x for x in views if x.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, dout, create_graph=True, allow_unused=True))
    return [next(found) if x.requires_grad else None for x in views]


def _call(channel: Sequence[Tensor], slices: Sequence[Tensor], options: Sequence[Any]) -> Call:
    return Call(
        ChannelParameters(*channel) if channel else None, SliceParameters(*slices) if slices else None, *options[:3]
    )


def _width(channel: Sequence[Tensor], slices: Sequence[Tensor]) -> int:
    """Channels that come out."""
    return ChannelParameters(*channel).v_bias.shape[0] if channel else SliceParameters(*slices).out_bias.shape[0]


def _one_stride(x: Tensor) -> Tensor:
    """A map with one stride along all voxels, as contiguous, channels_last_3d and slices of their channels have."""
    steps = [(n, step) for n, step in zip(x.shape[2:], x.stride()[2:], strict=True) if n != 1]
    return x if all(a == n * b for (_, a), (n, b) in pairwise(steps)) else x.contiguous()


def _passes(name: PassesName, u: Tensor, e: Tensor) -> Passes:
    if name == "auto":
        wanted = max(u.numel(), e.numel()) >= NATIVE and native.supports(u, e) is None
        name = "native" if wanted else "streaming"
    if name == "streaming":
        return cast("Passes", streaming)
    module, reason = _native(u, e) if name == "native" else _triton(u, e)
    if reason is None:
        return cast("Passes", module)
    raise ValueError(f"{name}: expected maps and a machine that it can run on; got {reason}; use backend='auto'")


def _native(u: Tensor, e: Tensor) -> tuple[Any, str | None]:
    return native, native.supports(u, e)


def _triton(u: Tensor, e: Tensor) -> tuple[Any, str | None]:
    if find_spec("triton") is None:
        return None, "Triton is not installed"
    from crossattn3d.kernels import triton_passes

    return triton_passes, triton_passes.supports(u, e)
