"""Folding batch normalization into the convolution before it, which saves prediction a pass over the maps."""

import copy
from itertools import pairwise
from typing import TypeGuard, TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crossattn3d._checks.nets import check_net
from crossattn3d._layers.convolutions import Conv3d, ConvTranspose3d
from crossattn3d._layers.hooks import is_plain
from crossattn3d.unet import ConvBlock, UpConv

Net = TypeVar("Net", bound=nn.Module)


def fold_batch_norm(net: Net) -> Net:
    r"""Return a copy of a trained net that predicts the same logits without the batch normalization of its blocks.

    With running mean $\mu$ and variance $\sigma^2$, $W' = \gamma W / \sqrt{\sigma^2 + \epsilon}$ and
    $b' = \beta + \gamma (b - \mu) / \sqrt{\sigma^2 + \epsilon}$.

    The copy keeps

    - instance and group normalization, which depend on the maps;
    - normalization in skips, whose order of layers is not known here;
    - a convolution and its normalization if one of them has hooks, a wrapper or a parametrization, which folding would
      lose.

    Args:
        net: the net, in eval mode.

    Returns:
        A net for prediction. Its parameters require no gradient.

    Raises:
        ValueError: the net or a part of it is in training mode, where normalization depends on the batch.

    Examples:
        >>> from crossattn3d import UNet3d
        >>> net = UNet3d(1, 3, channels=(4, 8)).eval()
        >>> sum(isinstance(m, nn.BatchNorm3d) for m in fold_batch_norm(net).modules())
        0
    """
    check_net("fold_batch_norm", net)
    if any(module.training for module in net.modules()):
        raise ValueError("fold_batch_norm: expected a net in eval mode; got one in training mode; call net.eval()")
    net = copy.deepcopy(net).requires_grad_(False)
    for module in list(net.modules()):
        if isinstance(module, ConvBlock):
            for i, (layer, norm) in enumerate(pairwise(list(module))):
                if isinstance(layer, nn.Conv3d) and _can_fold(norm, layer):
                    module[i], module[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
        elif isinstance(module, UpConv) and len(module.norm) and _can_fold(module.norm[0], module.conv):
            transposed = isinstance(module.conv, nn.ConvTranspose3d)
            module.conv = fuse_conv_bn_eval(module.conv, module.norm[0], transpose=transposed)
            module.norm[0] = nn.Identity()
    return net.eval()


def _can_fold(norm: nn.Module, layer: nn.Module) -> TypeGuard[nn.BatchNorm3d]:
    """Return whether a layer is batch normalization, and the one before it a convolution, both as they were made."""
    convolution = any(is_plain(layer, kind) for kind in (Conv3d, ConvTranspose3d, nn.Conv3d, nn.ConvTranspose3d))
    return convolution and is_plain(norm, nn.BatchNorm3d) and norm.running_mean is not None
