"""Channel-wise and slice-wise cross-attention, and their sum, as pure functions of tensors.

`query` is the decoder map U, `context` the encoder map E. Both are (b, c, d, h, w) and have one spatial size. Each
function checks its input and hands it to a backend:

| backend | computes |
|---|---|
| `reference` | the equations literally, to check the others against |
| `torch` | the factorized equations, exact and without the projected maps, in PyTorch on any device |
| `cpp` | the same in C++, on CPUs with a compiler; not for float16 |
| `triton` | the same in Triton, on NVIDIA GPUs of compute capability 8.0 or more; not for float64 |
| `auto` | `triton` on a GPU, `cpp` for large maps on a CPU, and `torch` where these cannot run |

- Before `auto` takes `triton`, it compares `triton` with `torch` on small maps, once per process and GPU. If the two
  differ or Triton fails, it takes `torch`.
- Set the environment variable CROSSATTN3D_BACKEND before the import to name a backend in place of `auto`. The logger
  `crossattn3d` says at debug level what `auto` takes, and warns of a failed comparison.
- The first use of `cpp` compiles it in a few seconds and keeps it in the user's cache folder (`~/.cache/crossattn3d`).
- While a model is exported or traced, every backend but `reference` is plain matrix products, which any runtime runs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d._checks.maps import check_arguments, check_gate, check_part
from crossattn3d._checks.scripting import not_scriptable
from crossattn3d.kernels import composed, operation, reference
from crossattn3d.kernels.backends import backend_of
from crossattn3d.kernels.derivative import Arguments
from crossattn3d.kernels.gate import operation as gate_operation
from crossattn3d.kernels.modes import is_traced, without_autocast
from crossattn3d.kernels.parameters import (
    BACKENDS,
    SCORE_NORMS,
    Attention,
    Backend,
    ChannelParameters,
    GateParameters,
    ScoreNorm,
    SliceParameters,
    StaticMixture,
)

__all__ = [
    "BACKENDS",
    "SCORE_NORMS",
    "Arguments",
    "Attention",
    "Backend",
    "ChannelParameters",
    "GateParameters",
    "ScoreNorm",
    "SliceParameters",
    "StaticMixture",
    "backend_of",
    "channel_attention_map",
    "channel_cross_attention",
    "channel_slice_cross_attention",
    "gated",
    "slice_attention_map",
    "slice_cross_attention",
]

# In the programs of `torch.fx.symbolic_trace`, each call is one node.
for _name in ("attend", "channel_attention_map", "pass_gate", "slice_attention_map"):
    torch.fx.wrap(_name)


@not_scriptable
def channel_cross_attention(
    query: Float[Tensor, "b cq d h w"],
    context: Float[Tensor, "b ce d h w"],
    channel: ChannelParameters,
    *,
    score_norm: ScoreNorm = "instance",
    residual: bool = False,
    backend: Backend = "auto",
) -> Float[Tensor, "b c d h w"]:
    """Attend channel-wise: return a mixture of the encoder's channels for each output channel.

        CCA = softmax(s(Q K^T)) V
        Q = Wq U + bq,   K = Wk E + bk,   V = Wv E + bv,   each C x L

    Args:
        query: the decoder map U.
        context: the encoder map E, of the same spatial size.
        channel: the projections. With a static mixture, Ws E + bs + gamma (M - 1/C) V takes the place of M V.
        score_norm: s, how the scores are normalized before the softmax.
        residual: whether to add U to the result.
        backend: the code that computes it.

    Returns:
        The result, in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: Eq. 1 and 2 of the UCA-Net paper (Kuang et al., ICASSP 2023).

    Examples:
        >>> import torch
        >>> p = ChannelParameters(*(torch.randn(s) for s in [(4, 3), (4,), (4, 5), (4,), (4, 5), (4,)]))
        >>> channel_cross_attention(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 4, 2, 4, 6])
    """
    check_part("channel_cross_attention", "channel", channel, ChannelParameters)
    attention = Attention(score_norm, residual, -3, backend)
    return attend("channel_cross_attention", query, context, channel, None, attention)


@not_scriptable
def slice_cross_attention(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    slices: SliceParameters,
    *,
    score_norm: ScoreNorm = "instance",
    residual: bool = False,
    slice_dim: int = -3,
    backend: Backend = "auto",
) -> Float[Tensor, "b c x y z"]:
    """Attend slice-wise: return a mixture of the encoder's slices for each output slice.

        SCA = Wo softmax(s(q k^T)) v + bo
        q = wq U + bq,   k = wk E + bk,   v = wv E + bv,   each D x HW

    Args:
        query: the decoder map U.
        context: the encoder map E, of the same spatial size.
        slices: the projections to one channel and back.
        score_norm: s, how the scores are normalized before the softmax.
        residual: whether to add U to the result.
        slice_dim: the dimension that counts slices: -1 for slices last, as MONAI and TorchIO load volumes.
        backend: the code that computes it.

    Returns:
        The result, in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: Eq. 3 and 4 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> p = SliceParameters(*(torch.randn(s) for s in [(1, 3), 1, (1, 5), 1, (1, 5), 1, (4, 1), 4]))
        >>> slice_cross_attention(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 4, 2, 4, 6])
    """
    check_part("slice_cross_attention", "slices", slices, SliceParameters)
    attention = Attention(score_norm, residual, slice_dim, backend)
    return attend("slice_cross_attention", query, context, None, slices, attention)


@not_scriptable
def channel_slice_cross_attention(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    channel: ChannelParameters,
    slices: SliceParameters,
    *,
    score_norm: ScoreNorm = "instance",
    residual: bool = False,
    slice_dim: int = -3,
    backend: Backend = "auto",
) -> Float[Tensor, "b c x y z"]:
    """Attend both ways: return CSCA, the sum of channel-wise and slice-wise cross-attention, in one call.

    Args:
        query: the decoder map U.
        context: the encoder map E, of the same spatial size.
        channel: the projections of the channel-wise part.
        slices: the projections of the slice-wise part.
        score_norm: s, how the scores of both parts are normalized before the softmax.
        residual: whether to add U to the sum.
        slice_dim: the dimension that counts slices: -1 for slices last, as MONAI and TorchIO load volumes.
        backend: the code that computes it.

    Returns:
        The result, in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: section 2.2.3 of the UCA-Net paper, O = CCA (+) SCA.

    Examples:
        >>> import torch
        >>> c = ChannelParameters(*(torch.randn(s) for s in [(4, 3), (4,), (4, 5), (4,), (4, 5), (4,)]))
        >>> s = SliceParameters(*(torch.randn(s) for s in [(1, 3), 1, (1, 5), 1, (1, 5), 1, (4, 1), 4]))
        >>> u, e = torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6)
        >>> both = channel_slice_cross_attention(u, e, c, s)
        >>> torch.allclose(both, channel_cross_attention(u, e, c) + slice_cross_attention(u, e, s), atol=1e-4)
        True
    """
    check_part("channel_slice_cross_attention", "channel", channel, ChannelParameters)
    check_part("channel_slice_cross_attention", "slices", slices, SliceParameters)
    attention = Attention(score_norm, residual, slice_dim, backend)
    return attend("channel_slice_cross_attention", query, context, channel, slices, attention)


@not_scriptable
def gated(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    mixture: Float[Tensor, "b c x y z"],
    gate: GateParameters,
    *,
    residual: bool = True,
    backend: Backend = "auto",
) -> Float[Tensor, "b c x y z"]:
    """Let a mixture of the encoder's channels pass a gate, a value for every channel and voxel.

        O = sigmoid(Wu U + We E + b) X + U

    Without `residual`, the last term is left out.

    Args:
        query: the decoder map U.
        context: the encoder map E, of the same spatial size.
        mixture: X, such as the result of `channel_slice_cross_attention`.
        gate: the projections of the gate.
        residual: whether to add U to the result.
        backend: the code that computes it.

    Returns:
        The result, in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: our own, after the gate of Attention U-Net (Oktay et al. 2018), which has one value for all channels.

    Examples:
        >>> import torch
        >>> u, e, x = (torch.randn(1, c, 2, 4, 6) for c in (4, 3, 4))
        >>> gated(u, e, x, GateParameters(torch.randn(4, 4), torch.randn(4, 3), torch.zeros(4))).shape
        torch.Size([1, 4, 2, 4, 6])
    """
    check_part("gated", "gate", gate, GateParameters)
    return pass_gate("gated", query, context, mixture, gate, Attention("instance", residual, -3, backend))


@not_scriptable
def channel_attention_map(
    query: Float[Tensor, "b cq d h w"],
    context: Float[Tensor, "b ce d h w"],
    channel: ChannelParameters,
    *,
    score_norm: ScoreNorm = "instance",
    backend: Backend = "auto",
) -> Float[Tensor, "b c c"]:
    """Return the map softmax(s(Q K^T)) of `channel_cross_attention`, to look at it.

    Arguments and errors are the same.

    Returns:
        The map in float32 or float64. Every row sums to 1.

    Examples:
        >>> import torch
        >>> p = ChannelParameters(*(torch.randn(s) for s in [(4, 3), (4,), (4, 5), (4,), (4, 5), (4,)]))
        >>> channel_attention_map(torch.randn(2, 3, 2, 4, 6), torch.randn(2, 5, 2, 4, 6), p).shape
        torch.Size([2, 4, 4])
    """
    check_part("channel_attention_map", "channel", channel, ChannelParameters)
    attention = Attention(score_norm, False, -3, backend)
    check_arguments("channel_attention_map", query, context, (channel,), attention)
    compute = reference.channel_attention if backend_of(backend) == "reference" else composed.channel_attention
    with without_autocast(query):
        return compute(query.to(context.dtype), context, channel, score_norm)


@not_scriptable
def slice_attention_map(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    slices: SliceParameters,
    *,
    score_norm: ScoreNorm = "instance",
    slice_dim: int = -3,
    backend: Backend = "auto",
) -> Float[Tensor, "b d d"]:
    """Return the map softmax(s(q k^T)) of `slice_cross_attention`, to look at it.

    Arguments and errors are the same.

    Returns:
        The map in float32 or float64. Every row sums to 1.

    Examples:
        >>> import torch
        >>> p = SliceParameters(*(torch.randn(s) for s in [(1, 3), 1, (1, 5), 1, (1, 5), 1, (4, 1), 4]))
        >>> slice_attention_map(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 2, 2])
    """
    check_part("slice_attention_map", "slices", slices, SliceParameters)
    attention = Attention(score_norm, False, slice_dim, backend)
    check_arguments("slice_attention_map", query, context, (slices,), attention)
    compute = reference.slice_attention if backend_of(backend) == "reference" else composed.slice_attention
    with without_autocast(query):
        return compute(query.to(context.dtype), context, slices, score_norm, _negative(slice_dim))


def attend(
    who: str,
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    channel: ChannelParameters | None,
    slices: SliceParameters | None,
    attention: Attention,
) -> Float[Tensor, "b c x y z"]:
    """Return the sum of the parts whose parameters are given; errors name `who`.

    All functions and modules of the package call it.
    """
    parts = [part for part in (channel, slices) if part is not None]
    check_arguments(who, query, context, parts, attention)
    attention = attention._replace(slice_dim=_negative(attention.slice_dim), backend=backend_of(attention.backend))
    compute = operation.cross_attention
    if attention.backend == "reference":
        compute = reference.cross_attention
    elif torch.compiler.is_exporting() or is_traced():
        compute = composed.cross_attention
    # Autocast would compute the scores in half precision, where a sum over millions of voxels overflows.
    with without_autocast(query):
        return compute(query.to(context.dtype), context, channel, slices, attention)


def pass_gate(
    who: str,
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    mixture: Float[Tensor, "b c x y z"],
    gate: GateParameters,
    attention: Attention,
) -> Float[Tensor, "b c x y z"]:
    """Return what `gated` returns, by the residual and the backend of an attention; errors name `who`."""
    check_gate(who, query, context, mixture, gate, attention)
    query, mixture, backend = query.to(context.dtype), mixture.to(context.dtype), backend_of(attention.backend)
    with without_autocast(query):
        if backend == "reference":
            return reference.gated(query, context, mixture, gate, attention.residual)
        return gate_operation.gated(query, context, mixture, gate, attention.residual, backend)


def _negative(slice_dim: int) -> int:
    """Return 2, 3, 4 as -3, -2, -1, which hold with and without the channel dimension."""
    return slice_dim % 5 - 5
