"""Folding batch normalization into the convolution before it: one pass over the maps fewer in prediction."""

import copy
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crossattn3d._arguments import check_net
from crossattn3d.unet import ConvBlock, UNet3d, UpConv

N = TypeVar("N", bound=UNet3d)


def fold_batch_norm(net: N) -> N:
    r"""Return a copy of a trained net without the batch normalization of its blocks; the logits stay the same.

    With running mean $\mu$ and variance $\sigma^2$, $W' = \gamma W / \sqrt{\sigma^2 + \epsilon}$ and
    $b' = \beta + \gamma (b - \mu) / \sqrt{\sigma^2 + \epsilon}$. Other norms depend on the maps and stay; so do norms
    in skips, whose order of layers is not known here.

    Args:
        net: in eval mode.

    Returns:
        A net for prediction, whose parameters require no gradient.

    Raises:
        ValueError: the net, or a part of it, is in training mode, where normalization depends on the batch.

    Examples:
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
                if isinstance(layer, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
        elif isinstance(module, UpConv) and len(module.norm) and isinstance(module.norm[0], nn.BatchNorm3d):
            transposed = isinstance(module.conv, nn.ConvTranspose3d)
            module.conv = fuse_conv_bn_eval(module.conv, module.norm[0], transpose=transposed)
            module.norm[0] = nn.Identity()
    return net.eval()
