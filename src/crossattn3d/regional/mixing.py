"""The attention's result in boxes of the maps: the scores are those of the whole maps, the mixtures of a box."""

from collections.abc import Callable

import torch
from torch import Tensor

from crossattn3d.kernels import passes
from crossattn3d.kernels.backends import implementation
from crossattn3d.kernels.derivative import Arguments, mix
from crossattn3d.kernels.gate.passes import forward
from crossattn3d.kernels.modes import without_autocast
from crossattn3d.kernels.parameters import GateParameters
from crossattn3d.regional.boxes import Box


def attention_in_boxes(
    query: Tensor, context: Tensor, arguments: Arguments, gate: GateParameters | None, residual: bool
) -> Callable[[Box], Tensor]:
    """Return a function that gives the attention's result in a box, in memory of its own.

    Args:
        query: decoder map, (1, cq, d, h, w), channels last; it may not change before the last call.
        context: encoder map, (1, ce, d, h, w), likewise.
        arguments: parameters and options; the backend is not `reference`.
        gate: that the attention passes before the decoder map is added, if there is one.
        residual: whether the decoder map is added.
    """
    with without_autocast(context):
        how = implementation(arguments[2], query, context)
        (p, bias, single), _ = mix(how, query, context, arguments)
    # A copy, since it may be a part of a larger map that ends here.
    single = None if single is None else (single[0], single[1].clone())

    def result(box: Box) -> Tensor:
        mixed = None
        if single is not None:
            out, o = single
            mixed = out, o.view(1, *context.shape[2:])[:, *box].flatten(1)
        u, e = _cut(query, box) if residual or gate is not None else None, _cut(context, box)
        with without_autocast(context):
            if u is None or gate is None:
                return passes.apply(how.run_pass, e, p, bias, mixed, u)
            return forward(how, u, e, passes.apply(how.run_pass, e, p, bias, mixed, None), gate, residual)

    return result


def _cut(x: Tensor, box: Box) -> Tensor:
    return x[:, :, *box].contiguous(memory_format=torch.channels_last_3d)
