"""How much of the gradient that a skip connection is given it hands on to the decoder map and to the encoder map."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from crossattn3d.unet import UNet3d

#: Image and target of a step.
Batches = Sequence[tuple[Tensor, Tensor]]


def handed_on(net: UNet3d, loss_of: Callable[[Tensor, Tensor], Tensor], batches: Batches) -> list[dict[str, float]]:
    """For each skip O = f(U, E), finest first, norms of gradients over that of the result's; means over the batches.

        decoder = |(dO/dU)^T g| / |g|,   encoder = |(dO/dE)^T g| / |g|,   g = dL/dO;   0 where g is 0

    As in training, with the statistics of each batch; the net itself is left as it is.
    """
    net = deepcopy(net).train()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(_: nn.Module, maps: tuple[Tensor, Tensor], out: Tensor) -> None:
        seen.append((*maps, out))

    for skip in net.skips:
        skip.recompute = False  # type: ignore[assignment]  # what is computed again is another tensor
        skip.register_forward_hook(hook)
    ratios = []
    for image, target in batches:
        seen.clear()
        loss = loss_of(net(image), target)
        # The decoder goes from the coarsest to the finest.
        given = torch.autograd.grad(loss, [out for _, _, out in reversed(seen)])
        skips = zip(net.skips, reversed(seen.copy()), given, strict=True)
        ratios.append([_ratios(skip, query, context, g) for skip, (query, context, _), g in skips])
    return [
        {name: float(np.mean([of_skip[name] for of_skip in level])) for name in level[0]}
        for level in zip(*ratios, strict=True)
    ]


def _ratios(skip: nn.Module, query: Tensor, context: Tensor, given: Tensor) -> dict[str, float]:
    # Cut off, since the decoder map depends on the encoder map through the deeper levels as well.
    ends = query.detach().requires_grad_(), context.detach().requires_grad_()
    parts = torch.autograd.grad(skip(*ends), ends, given, allow_unused=True)
    whole = float(given.norm())
    norms = [float(part.norm()) / whole if part is not None and whole else 0.0 for part in parts]
    return dict(zip(("decoder", "encoder"), norms, strict=True))
