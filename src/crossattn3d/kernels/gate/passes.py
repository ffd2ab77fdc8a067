"""The pass over the maps that makes a gate, and those that its gradients take, by the primitive of a backend."""

import torch
from torch import Tensor

from crossattn3d.kernels import ONES
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.layout import new_map, sum_dtype
from crossattn3d.kernels.parameters import GateParameters
from crossattn3d.kernels.passes import Stack


def open_gate(how: Implementation, u: Tensor, e: Tensor, gate: GateParameters) -> Tensor:
    """Return G, in dtype and memory format of the encoder map."""
    out = new_map(e, len(gate.bias))
    stack = Stack(u=u.flatten(2), ones=ONES, e=e.flatten(2))
    columns = {"u": gate.query_weight, "ones": gate.bias[:, None], "e": gate.context_weight}
    how.run_pass(stack.inputs, [], [stack.mixture(out.flatten(2), columns)], sum_dtype(e))
    return out.sigmoid_()


def gradients(
    how: Implementation, dout: Tensor, u: Tensor, e: Tensor, x: Tensor, gate: GateParameters, residual: bool
) -> list[Tensor]:
    """Return the gradients of the three maps, in the memory formats of U, E and E, and of the parameters."""
    g = open_gate(how, u, e, gate)
    dx = torch.mul(dout, g, out=new_map(e, len(gate.bias)))
    # The map last: its product with dO alone may be beyond float16.
    d = torch.ops.aten.sigmoid_backward(dout, g, grad_input=g).mul_(x)
    du, de = new_map(u, u.shape[1]), new_map(e, e.shape[1])
    stack = Stack(dout=dout.flatten(2) if residual else None, d=d.flatten(2), u=u.flatten(2), ones=ONES, e=e.flatten(2))
    # Dense, as the primitive of Triton needs a matrix of one row; contiguous() keeps odd strides of a single one.
    to_u, to_e = (
        weight.mT.clone(memory_format=torch.contiguous_format) for weight in (gate.query_weight, gate.context_weight)
    )
    mixtures = [
        stack.mixture(du.flatten(2), {"d": to_u}, add="dout" if residual else None),
        stack.mixture(de.flatten(2), {"d": to_e}),
    ]
    of_u, of_e = how.run_pass(stack.inputs, [stack.gram("d", "u"), stack.gram("d", "ones e")], mixtures, sum_dtype(e))
    of_e = of_e.sum(0)
    of_parameters = of_u.sum(0), of_e[:, 1:], of_e[:, 0]
    return [du, de, dx, *(of.to(p.dtype).contiguous() for of, p in zip(of_parameters, gate, strict=True))]
