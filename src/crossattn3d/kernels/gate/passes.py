"""The pass over the maps that a gate takes, and that of its gradients, by the primitive of a backend.

Where the primitive knows no gate, G is made by one pass and multiplied by others.
"""

from typing import cast

import torch
from torch import Tensor

from crossattn3d.kernels import ONES, Gating, Made
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.layout import new_map, sum_dtype
from crossattn3d.kernels.parameters import GateParameters
from crossattn3d.kernels.passes import Stack


def forward(how: Implementation, u: Tensor, e: Tensor, x: Tensor, gate: GateParameters, residual: bool) -> Tensor:
    """Return G X (+ U), in dtype and memory format of the encoder map."""
    if how.run_gated_pass is None:
        g = open_gate(how, u, e, gate)
        return torch.addcmul(u, g, x, out=g) if residual else g.mul_(x)
    out = new_map(e, len(gate.bias))
    stack = Stack(u=u.flatten(2), ones=ONES, e=e.flatten(2), x=x.flatten(2))
    logits = stack.mixture(out.flatten(2), _columns(gate), add="u" if residual else None)
    how.run_gated_pass(stack.inputs, [], [], sum_dtype(e), Gating(logits, stack.numbers["x"]))
    return out


def open_gate(how: Implementation, u: Tensor, e: Tensor, gate: GateParameters) -> Tensor:
    """Return G, in dtype and memory format of the encoder map."""
    out = new_map(e, len(gate.bias))
    stack = Stack(u=u.flatten(2), ones=ONES, e=e.flatten(2))
    how.run_pass(stack.inputs, [], [stack.mixture(out.flatten(2), _columns(gate))], sum_dtype(e))
    return out.sigmoid_()


def gradients(
    how: Implementation, dout: Tensor, u: Tensor, e: Tensor, x: Tensor, gate: GateParameters, residual: bool
) -> list[Tensor]:
    """Return the gradients of the three maps, in the memory formats of U, E and E, and of the parameters."""
    du, de, dx = new_map(u, u.shape[1]), new_map(e, e.shape[1]), new_map(e, len(gate.bias))
    fused = how.run_gated_pass is not None
    d = Made(len(gate.bias)) if fused else _logits_gradient(how, dout, u, e, x, gate, dx).flatten(2)
    stack = Stack(
        dout=dout.flatten(2) if residual or fused else None,
        d=d,
        u=u.flatten(2),
        ones=ONES,
        e=e.flatten(2),
        x=x.flatten(2) if fused else None,
    )
    # Dense, as the primitive of Triton needs a matrix of one row; contiguous() keeps odd strides of a single one.
    to_u, to_e = (
        weight.mT.clone(memory_format=torch.contiguous_format) for weight in (gate.query_weight, gate.context_weight)
    )
    mixtures = [
        stack.mixture(du.flatten(2), {"d": to_u}, add="dout" if residual else None),
        stack.mixture(de.flatten(2), {"d": to_e}),
    ]
    grams = [stack.gram("d", "u"), stack.gram("d", "ones e")]
    if how.run_gated_pass is None:
        of_u, of_e = how.run_pass(stack.inputs, grams, mixtures, sum_dtype(e))
    else:
        logits, numbers = stack.mixture(dx.flatten(2), _columns(gate)), stack.numbers
        gating = Gating(logits, numbers["x"], numbers["dout"], numbers["d"])
        of_u, of_e = how.run_gated_pass(stack.inputs, grams, mixtures, sum_dtype(e), gating)
    of_e = of_e.sum(0)
    of_parameters = of_u.sum(0), of_e[:, 1:], of_e[:, 0]
    return [du, de, dx, *(of.to(p.dtype).contiguous() for of, p in zip(of_parameters, gate, strict=True))]


def _logits_gradient(
    how: Implementation, dout: Tensor, u: Tensor, e: Tensor, x: Tensor, gate: GateParameters, dx: Tensor
) -> Tensor:
    """Write the gradient of X to `dx`, and return that of what the sigmoid takes."""
    g = open_gate(how, u, e, gate)
    torch.mul(dout, g, out=dx)
    # The map last: its product with dO alone may be beyond float16.
    return cast("Tensor", torch.ops.aten.sigmoid_backward(dout, g, grad_input=g)).mul_(x)


def _columns(gate: GateParameters) -> dict[str, Tensor]:
    return {"u": gate.query_weight, "ones": gate.bias[:, None], "e": gate.context_weight}
