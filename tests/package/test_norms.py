"""Normalization layers: values, every gradient, memory format, one voxel."""

import pytest
import torch
from torch import nn

from crossattn3d._layers.norms import InstanceNorm, make_norm


def by_definition(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    """Not nn.functional.instance_norm: its gradients are wrong at a batch of one in channels_last_3d (PyTorch 2.13)."""
    variance, mean = torch.var_mean(x, dim=(2, 3, 4), correction=0, keepdim=True)
    scale, shift = (p.to(x.dtype).reshape(1, -1, 1, 1, 1) for p in (norm.weight, norm.bias))
    return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


def randomized(norm: nn.Module) -> nn.Module:
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 1 + norm.weight.numel()))
        norm.bias.copy_(torch.arange(2.0, 2 + norm.bias.numel()))
    return norm


LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_normalizes_each_channel_of_each_sample_and_keeps_the_memory_format(batch, layout):
    norm = randomized(InstanceNorm(5).double())
    x = 3 * torch.randn(batch, 5, 3, 4, 6, dtype=torch.float64).to(memory_format=layout) + 7
    x.requires_grad_()
    found, expected = norm(x), by_definition(x, norm)
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    after = torch.randn_like(found)
    for ours, theirs in zip(
        *(torch.autograd.grad(y, (x, *norm.parameters()), after) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_instance_norm_does_not_remember_what_it_saw():
    norm = randomized(InstanceNorm(2))
    x = torch.randn(2, 2, 3, 4, 5)
    trained = norm.train()(x)
    assert torch.equal(norm.eval()(x), trained)
    assert not list(norm.buffers())


def test_one_voxel_is_normalized_to_the_shift():
    norm = randomized(InstanceNorm(2))
    x = torch.randn(2, 2, 1, 1, 1)
    # Scale and shift are folded into one product, whose rounding grows with 1 / sqrt(eps).
    rounding = 2**-22 * float((x.abs().amax() * norm.weight.max() / norm.eps**0.5).detach())
    torch.testing.assert_close(norm(x).flatten(1), norm.bias.expand(2, 2), rtol=0, atol=rounding)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_maps_come_back_as_bfloat16_near_the_exact_values(layout):
    norm = randomized(InstanceNorm(3))
    x = torch.randn(2, 3, 4, 5, 6).bfloat16().to(memory_format=layout)
    found, exact = (
        norm(x),
        by_definition(x.double(), norm),
    )
    assert found.dtype == torch.bfloat16
    # Rounding to 8 bits of mantissa; statistics are taken in float32.
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize(("channels", "groups"), [(32, 8), (12, 4), (5, 1), (2, 2)])
def test_groups_divide_the_channels(channels, groups):
    assert make_norm("group", channels).num_groups == groups


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("norm", ["layer", "Batch", "", None])
def test_an_unknown_norm_is_refused(norm):
    with pytest.raises(
        ValueError, match=f"make_norm: expected norm to be one of 'batch', 'instance', 'group'; got {norm!r}"
    ):
        make_norm(norm, 4)
