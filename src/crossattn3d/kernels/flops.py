"""What `torch.utils.flop_counter.FlopCounterMode` counts for the attention: 2 for a multiplication and its addition.

That is what it counts for `composed`, forward and backward, and in the backward pass what is computed again: the three
single-channel maps of the slice-wise half, and their mixture. Neither counts biases, softmax and outer products.
"""

import sys
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

Shape = Sequence[int]


def tell_flop_counters() -> None:
    """Make the FLOP counters that are counting know the operations.

    Their module takes as long to import as PyTorch's compiler, so that it is looked for where it has been imported, and
    each counter keeps a table of its own.
    """
    module = sys.modules.get("torch.utils.flop_counter")
    if module is None or torch.compiler.is_compiling():
        return
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, module._FlopCounterMode):
            for name, formula in FORMULAS.items():
                operation = getattr(torch.ops.crossattn3d, name)
                mode.counter.flop_registry.setdefault(operation, module.shape_wrapper(formula))


def _forward(
    query: Shape, context: Shape, channel: Sequence[Shape], slices: Sequence[Shape], *options: Any, **_: Any
) -> int:
    of_maps, of_centers = _of_channels(query, context, channel, options[0])
    return 2 * (of_maps + of_centers + sum(_of_slices(query, context, slices, options[2])))


def _backward(
    _dout: Shape,
    query: Shape,
    context: Shape,
    _sums: Sequence[Shape],
    channel: Sequence[Shape],
    slices: Sequence[Shape],
    *options: Any,
    **_: Any,
) -> int:
    # A product has two factors, and so two gradients; centers are constants.
    of_maps, of_centers = _of_channels(query, context, channel, options[0])
    of_projections, of_scores, of_mixture = _of_slices(query, context, slices, options[2])
    again = of_projections + of_mixture
    return 2 * (2 * of_maps + of_centers + 2 * (of_projections + of_scores + of_mixture) + again)


def _of_channels(query: Shape, context: Shape, channel: Sequence[Shape], score_norm: str) -> tuple[int, int]:
    """Return the multiplications of the channel-wise half, and apart from them those of biases with centers."""
    if not channel:
        return 0, 0
    (batch, cu, *size), ce, c = query, context[1], channel[0][0]
    voxels = prod(size)
    of_maps = cu * ce * voxels + c * ce * voxels
    of_matrices = c * (cu + 1) * (ce + 1) + c * (ce + 1) * c + c * c * ce + c * c
    if score_norm == "cosine":
        of_maps += (cu * cu + ce * ce) * voxels
        of_matrices += c * (cu + 1) ** 2 + c * (ce + 1) ** 2
    return batch * (of_maps + of_matrices), batch * c * (cu + ce)


def _of_slices(query: Shape, context: Shape, slices: Sequence[Shape], slice_dim: int) -> tuple[int, int, int]:
    """Return the multiplications of the slice-wise half: of its projections, its scores and its mixture."""
    if not slices:
        return 0, 0, 0
    batch, cu, *size = query
    voxels = batch * prod(size)
    return (cu + 2 * context[1]) * voxels, query[slice_dim] * voxels, query[slice_dim] * voxels


def _gate(query: Shape, context: Shape, mixture: Shape, *_parameters: Any, **_: Any) -> int:
    return 2 * query[0] * mixture[1] * (query[1] + context[1]) * prod(query[2:])


def _gate_backward(_dout: Shape, *given: Any, **_: Any) -> int:
    # Again forward, and two gradients of each product.
    return 3 * _gate(*given)


#: By the name of the operation.
FORMULAS = {"attend": _forward, "attend_backward": _backward, "gate": _gate, "gate_backward": _gate_backward}
