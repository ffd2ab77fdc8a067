"""What attention does for a trained net: its mean maps, the net with these alone, and how much each half adds."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.accuracy.probes import halves_of
from benchmarks.accuracy.skips import QuietCSCA
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.unet import UNet3d

#: The skips that are looked at: attention in the package's forms, in the place of the concatenation.
KINDS = (CSCA, QuietCSCA, ChannelCrossAttention3d, SliceCrossAttention3d)

#: An attention map of each half of an attention.
Maps = dict[str, Float[Tensor, "n n"]]


class Frozen(nn.Module):
    """An attention whose maps are the same whatever it sees: a fixed mixture of the values.

    Args:
        attention: CSCA or one half of it, slices at dimension -3.
        maps: of each half, (c, c) or (d, d).
    """

    def __init__(self, attention: nn.Module, maps: Maps) -> None:
        super().__init__()
        self.attention, self.maps = attention, maps
        self.out_channels = attention.out_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """The fixed mixtures, and the decoder map where the attention adds it."""
        out = query if self.attention.residual else torch.zeros_like(context)
        for name, half in halves_of(self.attention).items():
            mixed = torch.einsum("ij, bj... -> bi...", self.maps[name], _values(name, half, context))
            out = out + (half.to_out(mixed[:, None]) if name == "slices" else mixed)
        return out


@torch.inference_mode()
def mean_maps(net: UNet3d, images: Sequence[Tensor]) -> list[Maps]:
    """Means over images of each skip's attention maps, finest first; empty where a skip has none.

    Every image holds as many patches.
    """
    sums: list[Maps] = [{} for _ in net.skips]

    def add(number: int, attention: nn.Module, query: Tensor, context: Tensor) -> None:
        for name, half in halves_of(attention).items():
            maps = half.attention_maps(query, context).mean(0) / len(images)
            sums[number][name] = sums[number].get(name, 0) + maps

    _listened(net, images, add)
    return sums


def frozen(net: UNet3d, maps: Sequence[Maps]) -> UNet3d:
    """A copy of the net with these maps in the place of its own."""
    copied = deepcopy(net)
    for number, skip in enumerate(copied.skips):
        if maps[number]:
            copied.skips[number] = Frozen(skip, maps[number])
    return copied


@torch.inference_mode()
def terms(net: UNet3d, images: Sequence[Tensor]) -> list[dict[str, float]]:
    """Root mean square of what each half adds, over that of U, for each skip, finest first; means over images."""
    found: list[dict[str, list[float]]] = [{} for _ in net.skips]

    def add(number: int, attention: nn.Module, query: Tensor, context: Tensor) -> None:
        for name, half in halves_of(attention).items():
            added = half.forward(query, context) - (query if half.residual else 0)
            ratio = float(added.square().mean().sqrt() / query.square().mean().sqrt())
            found[number].setdefault(name, []).append(ratio)

    _listened(net, images, add)
    return [{name: float(np.mean(values)) for name, values in of_skip.items()} for of_skip in found]


def _listened(net: UNet3d, images: Sequence[Tensor], add: Callable[[int, nn.Module, Tensor, Tensor], None]) -> None:
    """Let the net see the images and call `add` with each skip's number, attention, query and context."""
    handles = []
    for number, skip in enumerate(net.skips):
        if type(skip) in KINDS:

            def hook(module: nn.Module, maps: tuple[Tensor, Tensor], _: Tensor, number: int = number) -> None:
                add(number, module, *maps)

            handles.append(skip.register_forward_hook(hook))
    for image in images:
        net(image)
    for handle in handles:
        handle.remove()


def _values(name: str, half: nn.Module, context: Tensor) -> Tensor:
    values: Tensor = half.to_value(context)
    return values[:, 0] if name == "slices" else values
