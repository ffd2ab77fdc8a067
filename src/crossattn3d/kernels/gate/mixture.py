"""A static mixture of the encoder's channels that attention corrects: P = Ws + gamma (M - 1/C) Wv, with biases alike.

M - 1/C is how attention differs from even attention, and gamma, a value for each channel, how much of that counts.
Without a static mixture, P = M Wv.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.parameters import ChannelParameters, StaticMixture


def channel_tensors(channel: ChannelParameters | None) -> list[Tensor]:
    """Return all tensors of a channel-wise half in a row."""
    if channel is None:
        return []
    *projections, temperature, static = channel
    return [x for x in (*projections, temperature, *(static or ())) if isinstance(x, Tensor)]


def channel_parameters(tensors: Sequence[Tensor]) -> ChannelParameters | None:
    """Return the channel-wise half whose tensors these are."""
    if not tensors:
        return None
    q, q_bias, k, k_bias, v, v_bias, *others = tensors
    # One of a temperature, three of a static mixture.
    temperature = others.pop(0) if len(others) % 3 else None
    static = StaticMixture(*others) if others else None
    return ChannelParameters(q, q_bias, k, k_bias, v, v_bias, temperature, static)


def corrected(channel: ChannelParameters, m: Float[Tensor, "b c c"]) -> Float[Tensor, "b c c"]:
    """Return what multiplies V: M, or gamma (M - 1/C) beside a static mixture."""
    return m if channel.static is None else _times_gain(channel.static, m - 1 / m.shape[-1])


def bias_and_p(channel: ChannelParameters, m: Float[Tensor, "b c c"], values: Tensor) -> Tensor:
    """Return [bias P], (b, c, 1+ce).

    Args:
        channel: the parameters.
        m: the attention map.
        values: [bv Wv], (c, 1+ce), of each sample or of all.
    """
    mixed = corrected(channel, m) @ values
    if channel.static is None:
        return mixed
    return mixed + torch.cat([channel.static.bias[:, None], channel.static.weight], 1).to(m.dtype)


def map_gradient(channel: ChannelParameters, dcorrected: Float[Tensor, "b c c"]) -> Float[Tensor, "b c c"]:
    """Return the gradient of M from that of what multiplies V."""
    return dcorrected if channel.static is None else _times_gain(channel.static, dcorrected)


def static_gradients(
    channel: ChannelParameters,
    m: Float[Tensor, "b c c"],
    dcorrected: Float[Tensor, "b c c"],
    dbias_and_p: Tensor,
    center: Float[Tensor, "b ce"] | None,
) -> list[Tensor]:
    """Return the gradients of gain, weight and bias of a static mixture; none without one.

    Args:
        channel: the parameters.
        m: the attention map.
        dcorrected: gradient of what multiplies V.
        dbias_and_p: that of [bias P], (b, c, 1+ce), for the encoder map less its center.
        center: of the encoder map, if it was taken off.
    """
    if channel.static is None:
        return []
    dgain = (dcorrected * (m - 1 / m.shape[-1])).sum((0, -1))
    dbias, dp = dbias_and_p[:, :, 0], dbias_and_p[:, :, 1:]
    if center is not None:
        dp = dp + dbias[:, :, None] * center[:, None].to(dp.dtype)
    found = zip((dgain, dp.sum(0), dbias.sum(0)), channel.static, strict=True)
    return [gradient.to(p.dtype) for gradient, p in found]


def _times_gain(static: StaticMixture, matrix: Float[Tensor, "b c c"]) -> Float[Tensor, "b c c"]:
    return static.gain.to(matrix.dtype)[:, None] * matrix
