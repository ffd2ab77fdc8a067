"""What the drop-in tests look at: volumes for a net, its wrapped parts, and all that it gives."""

from typing import Any

import torch
from torch import Tensor, nn

from crossattn3d.dropin import AttendedBlock, AttendedMap
from support.monai_and_nnunet_nets import OTHER_NETS
from support.random_parameters import generator, normal


def volume(name: str, dimensions: int = 3, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal((batch, 1, *OTHER_NETS[name].size[-dimensions:]), generator(0), dtype)


def wrappers(net: nn.Module) -> list[AttendedBlock | AttendedMap]:
    return [module for module in net.modules() if isinstance(module, AttendedBlock | AttendedMap)]


def logits(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return all that a net gives: logits of one or several levels, of two branches, or beside a loss."""

    def flat(out: Any) -> list[Tensor]:
        if isinstance(out, Tensor):
            return [out]
        return [] if out is None else [part for each in out for part in flat(each)]

    return flat(net(x))
