"""How far the scores of a trained network spread at patches of several sizes, and how even its attention is."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.skips import StudiedCSCA, projections, scores
from benchmarks.accuracy.task import Triple
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.unet import UNet3d

Probe = dict[str, dict[str, float]]


@torch.inference_mode()
def probed(net: UNet3d, cases: list[Prepared], patch: Triple, device: torch.device) -> list[Probe]:
    """Spread and entropy of each skip that is an attention, finest first, as means over the cases."""
    with _listening(net) as heard:
        for case in cases:
            x = torch.from_numpy(filled(case.image, patch))[None, None].to(device)
            net(x.contiguous(memory_format=torch.channels_last_3d))
    return [
        {half: {key: float(np.mean([p[half][key] for p in probes])) for key in probes[0][half]} for half in probes[0]}
        for probes in heard
        if probes
    ]


def filled(image: ndarray, patch: Triple) -> ndarray:
    """The middle of a case, mirrored at its sides as often as the patch needs."""
    for axis, size in enumerate(patch):
        lack = max(0, size - image.shape[axis])
        padding = [(0, 0)] * 3
        padding[axis] = (lack // 2, lack - lack // 2)
        image = np.pad(image, padding, mode="symmetric")
        first = (image.shape[axis] - size) // 2
        image = np.take(image, range(first, first + size), axis)
    return np.ascontiguousarray(image)


@contextmanager
def _listening(net: UNet3d) -> Iterator[list[list[Probe]]]:
    """One list per skip, to which each forward pass adds what it saw."""
    skips = [_attention_of(skip) for skip in net.skips]
    heard: list[list[Probe]] = [[] for _ in skips]
    handles = []
    for skip, probes in zip(skips, heard, strict=True):
        if skip is not None:

            def hook(module: nn.Module, maps: tuple[Tensor, Tensor], _: Tensor, probes: list[Probe] = probes) -> None:
                probes.append(_of_skip(module, *maps))

            handles.append(skip.register_forward_hook(hook))
    yield heard
    for handle in handles:
        handle.remove()


def _attention_of(skip: nn.Module) -> nn.Module | None:
    kinds = (CSCA, ChannelCrossAttention3d, SliceCrossAttention3d)
    return next((module for module in skip.modules() if isinstance(module, kinds)), None)


def halves_of(attention: nn.Module) -> dict[str, nn.Module]:
    """The modules of one attention by what they attend over: `channel`, `slices`, or both."""
    if isinstance(attention, CSCA):
        return {"channel": attention.channel, "slices": attention.slices}
    return {"channel" if isinstance(attention, ChannelCrossAttention3d) else "slices": attention}


def _of_skip(module: nn.Module, query: Tensor, context: Tensor) -> Probe:
    probe = {}
    for i, (name, half) in enumerate(halves_of(module).items()):
        (to_query, _), (to_key, _), _ = projections(half, query, context)
        q, k = to_query(query), to_key(context)
        q, k = (x.flatten(2) if name == "channel" else x[:, 0].flatten(2) for x in (q, k))
        factor = 1.0 if half.temperature is None else half.temperature
        centred = False
        if isinstance(module, StudiedCSCA):
            factor, centred = module.factors[i], module.centred
        s = scores(q, k, half.score_norm, factor, centred)
        m = s.softmax(-1)
        entropy = -torch.special.xlogy(m, m).sum(-1).mean() / math.log(m.shape[-1])
        probe[name] = {"spread": float(s.std(dim=(-2, -1), correction=0).mean()), "entropy": float(entropy)}
    return probe
