"""Probes of a trained network's attention: the spread of its scores and the entropy of its rows, by patch size."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.skips.studied_csca import StudiedCSCA, projected, scores
from benchmarks.accuracy.task import Triple
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.unet import UNet3d

T = TypeVar("T")
Probe = dict[str, dict[str, float]]


@torch.inference_mode()
def probed(net: UNet3d, cases: list[Prepared], patch: Triple, device: torch.device) -> list[Probe]:
    """Return spread and entropy of each skip that is an attention, finest first, as means over the cases."""
    kinds = (CSCA, ChannelCrossAttention3d, SliceCrossAttention3d)
    attentions = [next((part for part in skip.modules() if isinstance(part, kinds)), None) for skip in net.skips]
    images = (torch.from_numpy(filled(case.image, patch))[None, None].to(device) for case in cases)
    images = (image.contiguous(memory_format=torch.channels_last_3d) for image in images)
    seen = [probes for probes in observe(net, attentions, images, _probe) if probes]
    return [{half: mean_of([probe[half] for probe in probes]) for half in probes[0]} for probes in seen]


def observe(
    net: UNet3d,
    attentions: Sequence[nn.Module | None],
    images: Iterable[Tensor],
    look: Callable[[nn.Module, Tensor, Tensor], T],
) -> list[list[T]]:
    """Run the net on the images; return by skip the results of `look(attention, query, context)`, one per image."""
    seen: list[list[T]] = [[] for _ in attentions]
    handles = [
        attention.register_forward_hook(lambda module, maps, _, results=results: results.append(look(module, *maps)))
        for attention, results in zip(attentions, seen, strict=True)
        if attention is not None
    ]
    for image in images:
        net(image)
    for handle in handles:
        handle.remove()
    return seen


def mean_of(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each entry over dictionaries of the same keys; empty if there are none."""
    return {name: sum(values[name] for values in found) / len(found) for name in (found[0] if found else {})}


def filled(image: ndarray, patch: Triple) -> ndarray:
    """Return the middle of a case, mirrored at its sides as often as the patch needs."""
    lack = [max(0, size - length) for size, length in zip(patch, image.shape, strict=True)]
    padded = np.pad(image, [(n // 2, n - n // 2) for n in lack], mode="symmetric")
    first = [(length - size) // 2 for size, length in zip(patch, padded.shape, strict=True)]
    return np.ascontiguousarray(padded[tuple(slice(i, i + size) for i, size in zip(first, patch, strict=True))])


def halves_of(attention: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of one attention by what they attend over: `channel`, `slices`, or both."""
    if isinstance(attention, CSCA):
        return {"channel": attention.channel, "slices": attention.slices}
    return {"channel" if isinstance(attention, ChannelCrossAttention3d) else "slices": attention}


def maps_of(attention: nn.Module, query: Tensor, context: Tensor) -> dict[str, Tensor]:
    """Return the attention maps of each half, (b, c, c) and (b, d, d)."""
    maps = attention.attention_maps(query, context)
    return dict(zip(halves_of(attention), maps if isinstance(attention, CSCA) else [maps], strict=True))


def _probe(module: nn.Module, query: Tensor, context: Tensor) -> Probe:
    probe = {}
    for i, (name, half) in enumerate(halves_of(module).items()):
        q, k, _ = projected(half, query, context)
        factor = 1.0 if half.temperature is None else half.temperature
        centered = False
        if isinstance(module, StudiedCSCA):
            factor, centered = module.factors[i], module.centered
        s = scores(q, k, module.score_norm, factor, centered)
        m = s.softmax(-1)
        entropy = -torch.special.xlogy(m, m).sum(-1).mean() / math.log(m.shape[-1])
        probe[name] = {"spread": float(s.std(dim=(-2, -1), correction=0).mean()), "entropy": float(entropy)}
    return probe
