"""What people do to a convolution: hooks, patches, parametrizations and pruning, each of which changes its result."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune


def doubled(weight: Tensor) -> nn.Module:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    return Twice()


def with_a_hook(layer: nn.Conv3d) -> None:
    layer.register_forward_hook(lambda _m, _x, out: 2 * out)


def with_a_hook_before(layer: nn.Conv3d) -> None:
    layer.register_forward_pre_hook(lambda _m, x: (2 * x[0],))


def with_a_patch(layer: nn.Conv3d) -> None:
    original = layer.forward
    layer.forward = lambda x: 2 * original(x)


def with_a_patch_inside(layer: nn.Conv3d) -> None:
    original = layer._conv_forward
    layer._conv_forward = lambda x, weight, bias: original(x, 2 * weight, bias)


def with_a_parametrization(layer: nn.Conv3d) -> None:
    parametrize.register_parametrization(layer, "weight", doubled(layer.weight))


def with_the_old_weight_norm(layer: nn.Conv3d) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(layer)
    with torch.no_grad():
        layer.weight_g *= 2


def with_weight_norm(layer: nn.Conv3d) -> None:
    parametrizations.weight_norm(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2)


def with_spectral_norm(layer: nn.Conv3d) -> None:
    parametrizations.spectral_norm(layer, n_power_iterations=3)


def with_pruning(layer: nn.Conv3d) -> None:
    mask = torch.ones_like(layer.weight)
    mask[:, :1] = 0
    prune.custom_from_mask(layer, "weight", mask)
    with torch.no_grad():
        layer.weight_orig *= 1.5


CHANGES: list[Callable[[nn.Conv3d], None]] = [
    with_a_hook,
    with_a_hook_before,
    with_a_patch,
    with_a_patch_inside,
    with_a_parametrization,
    with_the_old_weight_norm,
    with_weight_norm,
    with_spectral_norm,
    with_pruning,
]
