"""Feature maps and parameters from a seed; no parameter keeps its initial value."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from crossattn3d.functional import ChannelParameters, SliceParameters, StaticMixture

M = TypeVar("M", bound=nn.Module)
Size = tuple[int, int, int]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(shape: tuple[int, ...], g: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def randomize(module: M, seed: int) -> M:
    """Set every parameter, including temperatures and affine norms, and every running statistic to a random value.

    Weights keep about the spread of an ordinary initialization, so that attention is neither uniform nor one-hot;
    norms keep a positive scale, so that narrow nets do not die at a ReLU.
    """
    g = generator(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            fan_in = max(1, p[0].numel()) if p.ndim > 1 else 1
            value = normal(tuple(p.shape), g) / fan_in**0.5
            positive = name.endswith("temperature") or (name.endswith("weight") and p.ndim == 1)
            p.copy_(0.5 + value.abs() if positive else value)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * normal(tuple(buffer.shape), g))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + normal(tuple(buffer.shape), g).square())
    return module


def maps(
    seed: int, batch: int, query_channels: int, context_channels: int, size: Size, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return a decoder and an encoder map with means other than 0."""
    g = generator(seed + 1_000_003)
    query = 0.5 * normal((batch, query_channels, *size), g) + 0.2
    context = 0.5 * normal((batch, context_channels, *size), g) - 0.1
    return query.to(dtype), context.to(dtype)


def correlated_maps(
    seed: int, batch: int, query_channels: int, context_channels: int, size: Size, noise: float
) -> tuple[Tensor, Tensor]:
    """Return float64 maps as after a ReLU, whose channels all show one pattern with relative noise `noise`."""
    g = generator(seed)
    pattern = 1 + 3 * torch.rand((batch, 1, *size), generator=g, dtype=torch.float64)
    query, context = (
        (pattern * (1 + noise * normal((batch, c, *size), g))).relu() for c in (query_channels, context_channels)
    )
    return query, context


def channel_parameters(seed: int, query_channels: int, context_channels: int, channels: int) -> ChannelParameters:
    """Return float64 projections and a temperature of CCA; `channels` may differ from the width of either map."""
    g = generator(seed)
    q = normal((channels, query_channels), g), normal((channels,), g)
    k = normal((channels, context_channels), g), normal((channels,), g)
    v = normal((channels, context_channels), g), normal((channels,), g)
    return ChannelParameters(*q, *k, *v, temperature=normal((), g).abs() + 0.5)


def static_mixture(seed: int, context_channels: int, channels: int) -> StaticMixture:
    """Return a float64 static mixture that CCA corrects."""
    g = generator(seed)
    return StaticMixture(*(normal(shape, g) for shape in ((channels,), (channels, context_channels), (channels,))))


def slice_parameters(seed: int, query_channels: int, context_channels: int, channels: int) -> SliceParameters:
    """Return float64 projections and a temperature of SCA."""
    g = generator(seed)
    q = normal((1, query_channels), g), normal((1,), g)
    k = normal((1, context_channels), g), normal((1,), g)
    v = normal((1, context_channels), g), normal((1,), g)
    out = normal((channels, 1), g), normal((channels,), g)
    return SliceParameters(*q, *k, *v, *out, temperature=normal((), g).abs() + 0.5)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Assert that no difference exceeds `tolerance` times the largest value (or 0.1, if all are smaller)."""
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    assert torch.isfinite(expected).all(), what
    scale = max(0.1, expected.abs().max().item())
    assert (actual - expected).abs().max().item() <= tolerance * scale, what
