"""The effect of attention in a trained net: its mean maps and gates, the net with these only, what each half adds."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.accuracy.causes.attention_probes import halves_of, maps_of, mean_of, observe
from benchmarks.accuracy.skips.adaptive import AdaptiveSkip
from benchmarks.accuracy.skips.changed_csca import QuietCSCA
from benchmarks.accuracy.skips.studied_csca import StudiedCSCA
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.unet import UNet3d

#: The package's forms of attention that are examined, in place of the concatenation.
KINDS = (CSCA, QuietCSCA, ChannelCrossAttention3d, SliceCrossAttention3d)

#: An attention map of each half of an attention, or what an adaptive skip computes, by name.
Maps = dict[str, Tensor]


class Frozen(nn.Module):
    """An attention whose maps do not depend on its input: a fixed mixture of the values.

    Args:
        attention: CSCA or one half of it, slices at dimension -3.
        maps: of each half, (c, c) or (d, d).
    """

    def __init__(self, attention: nn.Module, maps: Maps) -> None:
        super().__init__()
        self.attention, self.maps = attention, maps
        self.out_channels = attention.out_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the fixed mixtures, plus the decoder map where the attention adds it."""
        start = query if self.attention.residual else torch.zeros_like(context)
        return sum(_mixtures(self.attention, self.maps, context).values(), start)


@torch.inference_mode()
def mean_maps(net: UNet3d, images: Sequence[Tensor]) -> list[Maps]:
    """Return means over images of each skip's attention maps and gates, finest first; empty where a skip has none.

    All images hold the same number of patches.
    """

    def look(skip: nn.Module, query: Tensor, context: Tensor) -> Maps:
        if isinstance(skip, AdaptiveSkip):
            return skip.averaged(query, context)
        return {name: maps.mean(0) for name, maps in maps_of(skip, query, context).items()}

    return [mean_of(maps) for maps in observe(net, _examined(net, (*KINDS, AdaptiveSkip)), images, look)]


def frozen(net: UNet3d, maps: Sequence[Maps]) -> UNet3d:
    """Return a copy of the net with these maps in place of its own."""
    copied = deepcopy(net)
    for number, skip in enumerate(copied.skips):
        if isinstance(skip, AdaptiveSkip):
            skip.fixed = maps[number]
        elif maps[number]:
            copied.skips[number] = Frozen(skip, maps[number])
    return copied


@torch.inference_mode()
def terms(net: UNet3d, images: Sequence[Tensor]) -> list[dict[str, float]]:
    """Return the RMS of what each half adds over that of U, for each skip, finest first; means over images."""

    def look(attention: nn.Module, query: Tensor, context: Tensor) -> dict[str, float]:
        size = query.square().mean().sqrt()
        added = _mixtures(attention, maps_of(attention, query, context), context)
        return {name: float(term.square().mean().sqrt() / size) for name, term in added.items()}

    return [mean_of(ratios) for ratios in observe(net, _examined(net, KINDS), images, look)]


def _examined(net: UNet3d, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module | None]:
    return [skip if isinstance(skip, kinds) and not isinstance(skip, StudiedCSCA) else None for skip in net.skips]


def _mixtures(attention: nn.Module, maps: dict[str, Float[Tensor, "*b n n"]], context: Tensor) -> dict[str, Tensor]:
    """Return the output of each half with these maps: the mixture of its values, on all channels."""
    mixtures = {}
    for name, half in halves_of(attention).items():
        values = half.to_value(context)
        pattern = "bij, bj... -> bi..." if maps[name].ndim == 3 else "ij, bj... -> bi..."
        mixed = torch.einsum(pattern, maps[name], values[:, 0] if name == "slices" else values)
        mixtures[name] = half.to_out(mixed[:, None]) if name == "slices" else mixed
    return mixtures
