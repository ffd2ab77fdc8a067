"""The share of its gradient that each skip connection passes on to the decoder map and to the encoder map."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from benchmarks.accuracy.causes.attention_probes import mean_of
from crossattn3d.unet import UNet3d

#: Image and target of a step.
Batches = Sequence[tuple[Tensor, Tensor]]


def passed_on(net: UNet3d, loss_of: Callable[[Tensor, Tensor], Tensor], batches: Batches) -> list[dict[str, float]]:
    """Return, for each skip O = f(U, E), finest first, gradient norms over that of the output's; means over batches.

        decoder = |(dO/dU)^T g| / |g|,   encoder = |(dO/dE)^T g| / |g|,   g = dL/dO;   0 where g is 0

    Computed as in training, with the statistics of each batch; the net itself is left unchanged.
    """
    net = deepcopy(net).train()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(_: nn.Module, maps: tuple[Tensor, Tensor], out: Tensor) -> None:
        seen.append((*maps, out))

    for skip in net.skips:
        skip.register_forward_hook(hook)
    ratios = []
    for image, target in batches:
        seen.clear()
        loss = loss_of(net(image), target)
        # The decoder runs from the coarsest to the finest; the backward pass may call the skips again.
        finest_first = seen[::-1]
        given = torch.autograd.grad(loss, [out for _, _, out in finest_first])
        skips = zip(net.skips, finest_first, given, strict=True)
        ratios.append([_ratios(skip, query, context, g) for skip, (query, context, _), g in skips])
    return [mean_of(level) for level in zip(*ratios, strict=True)]


def _ratios(skip: nn.Module, query: Tensor, context: Tensor, given: Tensor) -> dict[str, float]:
    # Detached, since the decoder map depends on the encoder map through the deeper levels as well.
    ends = query.detach().requires_grad_(), context.detach().requires_grad_()
    parts = torch.autograd.grad(skip(*ends), ends, given, allow_unused=True)
    whole = float(given.norm())
    norms = [float(part.norm()) / whole if part is not None and whole else 0.0 for part in parts]
    return dict(zip(("decoder", "encoder"), norms, strict=True))
