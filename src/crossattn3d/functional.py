"""Channel-wise and slice-wise cross-attention, and their sum, as pure functions of tensors.

`query` is the decoder map (U), `context` the encoder map (E); both are (b, c, d, h, w) and of one spatial size. Each
function checks its input and hands it to a backend:

| backend | computes |
|---|---|
| `reference` | the equations literally, to check the others against |
| `torch` | the factorized equations, exact and without the projected maps, in PyTorch on any device |
| `cpp` | the same in C++, on CPUs with a compiler; not for float16 |
| `triton` | the same in Triton, on NVIDIA GPUs; tested in the interpreter only so far, not yet on a GPU |
| `auto` | as `cpp` for large maps where it can run, else as `torch` |

`cpp` is compiled when it is first used, in a few seconds, and kept in the user's cache folder
(`~/.cache/crossattn3d`).

While a model is exported, all but `reference` are plain matrix products, which any runtime supports.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d._options import check_option
from crossattn3d.kernels import composed, operation, reference
from crossattn3d.kernels.parameters import (
    BACKENDS,
    SCORE_NORMS,
    Attention,
    Backend,
    ChannelParameters,
    ScoreNorm,
    SliceParameters,
)

#: Earlier names of backends.
RENAMED = {"factorised": "torch", "native": "cpp"}

__all__ = [
    "BACKENDS",
    "SCORE_NORMS",
    "Attention",
    "Backend",
    "ChannelParameters",
    "ScoreNorm",
    "SliceParameters",
    "channel_attention_map",
    "channel_cross_attention",
    "channel_slice_cross_attention",
    "slice_attention_map",
    "slice_cross_attention",
]


def channel_cross_attention(
    query: Float[Tensor, "b cq d h w"],
    context: Float[Tensor, "b ce d h w"],
    channel: ChannelParameters,
    *,
    score_norm: ScoreNorm = "instance",
    residual: bool = False,
    backend: Backend = "auto",
) -> Float[Tensor, "b c d h w"]:
    """Attend channel-wise: return, for each output channel, a mixture of the encoder's channels.

        CCA = softmax(s(Q K^T)) V,   Q = Wq U + bq,  K = Wk E + bk,  V = Wv E + bv,   C x L each

    Args:
        query: decoder map U, (b, cq, d, h, w).
        context: encoder map E, (b, ce, d, h, w), of the same spatial size.
        channel: the projections.
        score_norm: s; `none` as printed in the paper, `sqrt` divides by sqrt(L), `mean` by L, `cosine` takes unit
            rows and a temperature, `instance` brings the scores of a sample to mean 0 and variance 1.
        residual: whether U is added to the result.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Returns:
        (b, c, d, h, w) in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: Eq. 1 and 2 of the UCA-Net paper (Kuang et al., ICASSP 2023).

    Examples:
        >>> import torch
        >>> p = ChannelParameters(*(torch.randn(s) for s in [(4, 3), (4,), (4, 5), (4,), (4, 5), (4,)]))
        >>> channel_cross_attention(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 4, 2, 4, 6])
    """
    attention = Attention(score_norm, residual, -3, backend)
    return attend("channel_cross_attention", query, context, channel, None, attention)


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
    """Attend slice-wise: return, for each output slice, a mixture of the encoder's slices.

        SCA = Wo softmax(s(q k^T)) v + bo,   q = wq U + bq,  k = wk E + bk,  v = wv E + bv,   D x HW each

    Args:
        query: decoder map U, (b, cq, d, h, w).
        context: encoder map E, (b, ce, d, h, w), of the same spatial size.
        slices: the projections to one channel and back.
        score_norm: s, as in `channel_cross_attention` with HW in place of L.
        residual: whether U is added to the result.
        slice_dim: the dimension of the tensors that counts slices: -3 here, -1 in MONAI and TorchIO.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Returns:
        (b, c, d, h, w) in the dtype of `context`.

    Raises:
        ValueError: ranks, widths or spatial sizes do not fit, or an option is unknown.

    Source: Eq. 3 and 4 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> p = SliceParameters(*(torch.randn(s) for s in [(1, 3), 1, (1, 5), 1, (1, 5), 1, (4, 1), 4]))
        >>> slice_cross_attention(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 4, 2, 4, 6])
    """
    attention = Attention(score_norm, residual, slice_dim, backend)
    return attend("slice_cross_attention", query, context, None, slices, attention)


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
    """Return the sum of both, O = CCA (+) SCA, in one call: CSCA.

    Args:
        query: decoder map U, (b, cq, d, h, w).
        context: encoder map E, (b, ce, d, h, w), of the same spatial size.
        channel: the projections of the channel-wise part.
        slices: the projections of the slice-wise part.
        score_norm: s, of both parts.
        residual: whether U is added to the sum.
        slice_dim: the dimension of the tensors that counts slices: -3 here, -1 in MONAI and TorchIO.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Returns:
        (b, c, d, h, w) in the dtype of `context`.

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
    attention = Attention(score_norm, residual, slice_dim, backend)
    return attend("channel_slice_cross_attention", query, context, channel, slices, attention)


def channel_attention_map(
    query: Float[Tensor, "b cq d h w"],
    context: Float[Tensor, "b ce d h w"],
    channel: ChannelParameters,
    *,
    score_norm: ScoreNorm = "instance",
    backend: Backend = "auto",
) -> Float[Tensor, "b c c"]:
    """Return softmax(s(Q K^T)) of `channel_cross_attention`, to look at; arguments and errors are the same.

    Returns:
        (b, c, c), float32 or float64; every row sums to 1.

    Examples:
        >>> import torch
        >>> p = ChannelParameters(*(torch.randn(s) for s in [(4, 3), (4,), (4, 5), (4,), (4, 5), (4,)]))
        >>> channel_attention_map(torch.randn(2, 3, 2, 4, 6), torch.randn(2, 5, 2, 4, 6), p).shape
        torch.Size([2, 4, 4])
    """
    attention = Attention(score_norm, False, -3, backend)
    _check("channel_attention_map", query, context, (channel,), attention)
    compute = reference.channel_attention if backend == "reference" else composed.channel_attention
    with torch.autocast(query.device.type, enabled=False):
        return compute(query.to(context.dtype), context, channel, score_norm)


def slice_attention_map(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    slices: SliceParameters,
    *,
    score_norm: ScoreNorm = "instance",
    slice_dim: int = -3,
    backend: Backend = "auto",
) -> Float[Tensor, "b d d"]:
    """Return softmax(s(q k^T)) of `slice_cross_attention`, to look at; arguments and errors are the same.

    Returns:
        (b, d, d), float32 or float64; every row sums to 1.

    Examples:
        >>> import torch
        >>> p = SliceParameters(*(torch.randn(s) for s in [(1, 3), 1, (1, 5), 1, (1, 5), 1, (4, 1), 4]))
        >>> slice_attention_map(torch.randn(1, 3, 2, 4, 6), torch.randn(1, 5, 2, 4, 6), p).shape
        torch.Size([1, 2, 2])
    """
    attention = Attention(score_norm, False, slice_dim, backend)
    _check("slice_attention_map", query, context, (slices,), attention)
    compute = reference.slice_attention if backend == "reference" else composed.slice_attention
    with torch.autocast(query.device.type, enabled=False):
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
    _check(who, query, context, parts, attention)
    attention = attention._replace(slice_dim=_negative(attention.slice_dim))
    compute = operation.cross_attention
    if attention.backend == "reference":
        compute = reference.cross_attention
    elif torch.compiler.is_exporting():
        compute = composed.cross_attention
    # Autocast would compute the scores in half precision, where a sum over millions of voxels overflows.
    with torch.autocast(query.device.type, enabled=False):
        return compute(query.to(context.dtype), context, channel, slices, attention)


def check_options(who: str, attention: Attention) -> None:
    """Raise ValueError, naming `who`, unless each option is a known one."""
    check_option(who, "score_norm", attention.score_norm, SCORE_NORMS)
    for old, new in RENAMED.items():
        if attention.backend == old:
            raise ValueError(f"{who}: expected a backend by its present name; got {old!r}; use backend={new!r}")
    check_option(who, "backend", attention.backend, BACKENDS)
    if attention.slice_dim not in (-3, -2, -1, 2, 3, 4):
        raise ValueError(
            f"{who}: expected slice_dim to be a spatial dimension, -3, -2 or -1 (or 2, 3, 4); got "
            f"{attention.slice_dim!r}"
        )


def _negative(slice_dim: int) -> int:
    """Return 2, 3, 4 as -3, -2, -1, which hold with and without the channel dimension."""
    return slice_dim % 5 - 5


def _check(
    who: str, query: Tensor, context: Tensor, parts: Sequence[ChannelParameters | SliceParameters], attention: Attention
) -> None:
    """Raise ValueError, naming `who`, unless the maps, the projections and the options fit together."""
    check_options(who, attention)
    _check_maps(who, query, context)
    widths = [_check_widths(who, query, context, part, attention.score_norm) for part in parts]
    if len(set(widths)) != 1:
        raise ValueError(f"{who}: expected both parts to give as many channels; got {widths[0]} and {widths[1]}")
    if attention.residual and query.shape[1] != widths[0]:
        raise ValueError(
            f"{who}: expected a query with the {widths[0]} channels of the output, for residual=True; "
            f"got {query.shape[1]}; use residual=False or equal widths"
        )


def _check_maps(who: str, query: Tensor, context: Tensor) -> None:
    for name, x in (("query", query), ("context", context)):
        if x.ndim != 5:
            raise ValueError(
                f"{who}: expected {name} as (batch, channels, depth, height, width); got {x.ndim} dimensions, "
                f"{tuple(x.shape)}; add a batch or depth dimension with unsqueeze"
            )
    if query.shape[0] != context.shape[0] or query.shape[2:] != context.shape[2:]:
        raise ValueError(
            f"{who}: expected query and context of one batch and spatial size; got {tuple(query.shape)} and "
            f"{tuple(context.shape)}; resize the query to the context first"
        )


def _check_widths(
    who: str, query: Tensor, context: Tensor, part: ChannelParameters | SliceParameters, score_norm: ScoreNorm
) -> int:
    """Return the number of output channels; raise ValueError unless the projections fit the maps."""
    reads = (("query", query, part.q_weight), ("context", context, part.k_weight), ("context", context, part.v_weight))
    for name, x, weight in reads:
        if x.shape[1] != weight.shape[1]:
            raise ValueError(
                f"{who}: expected a {name} with {weight.shape[1]} channels; got {x.shape[1]}, {tuple(x.shape)}; "
                f"make the layer with {name}_channels={x.shape[1]}"
            )
    inner = [weight.shape[0] for _, _, weight in reads]
    if len(set(inner)) != 1:
        raise ValueError(
            f"{who}: expected queries, keys and values of one width; got {inner}; "
            "give q_weight, k_weight and v_weight as many rows"
        )
    if score_norm == "cosine" and part.temperature is None:
        raise ValueError(f"{who}: expected a temperature for score_norm='cosine'; got None; give a scalar tensor")
    return (part.v_weight if isinstance(part, ChannelParameters) else part.out_weight).shape[0]
