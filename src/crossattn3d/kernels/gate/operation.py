"""The gate as one operation of PyTorch's, with its derivative by hand.

    G = sigmoid(Wu U + We E + b),   O = G X (+ U)

X is a map that is mixed of the encoder's. Maps alone are kept: the backward pass makes G again, and with
D = dO X G (1 - G)

    dX = G dO,   dU = Wu^T D (+ dO),   dE = We^T D,   dWu = D U^T,   dWe = D E^T,   db = D 1.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.backends import implementation
from crossattn3d.kernels.composed import differentiable_gradients
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.flops import tell_flop_counters
from crossattn3d.kernels.gate import passes
from crossattn3d.kernels.layout import ContextMap, QueryMap, new_map, one_stride, sum_dtype
from crossattn3d.kernels.modes import is_traced, is_transformed, without_autocast
from crossattn3d.kernels.parameters import Attention, Backend, GateParameters

Map = Float[Tensor, "b c x y z"]

MAPS = "Tensor query, Tensor context, Tensor mixture"
PARAMETERS = "Tensor query_weight, Tensor context_weight, Tensor bias, bool residual, str backend"
FORWARD, BACKWARD = "crossattn3d::gate", "crossattn3d::gate_backward"
torch.library.define(FORWARD, f"({MAPS}, {PARAMETERS}) -> Tensor", tags=torch.Tag.pt2_compliant_tag)
torch.library.define(BACKWARD, f"(Tensor dout, {MAPS}, {PARAMETERS}) -> Tensor[]", tags=torch.Tag.pt2_compliant_tag)


def gated(
    query: QueryMap, context: ContextMap, mixture: Map, gate: GateParameters, residual: bool, backend: Backend
) -> Map:
    """Return G X (+ U), in the dtype of the maps, which is one; by another backend than `reference`."""
    tensors = (query, context, mixture, *gate)
    if torch.compiler.is_exporting() or is_traced() or is_transformed(*tensors):
        return composed(query, context, mixture, gate, residual)
    tell_flop_counters()
    return cast("Tensor", torch.ops.crossattn3d.gate(*tensors, residual, backend))


def composed(query: QueryMap, context: ContextMap, mixture: Map, gate: GateParameters, residual: bool) -> Map:
    """Return the same by matrix products, which every runtime has and autograd differentiates as often as is needed."""
    dtype = sum_dtype(mixture)
    u, e = (x.to(dtype).flatten(2) for x in (query, context))
    of_query, of_context, bias = (x.to(dtype) for x in gate)
    opened = (of_query @ u + of_context @ e + bias[:, None]).sigmoid()
    passed = opened * mixture.to(dtype).flatten(2)
    out = passed + u if residual else passed
    return out.to(mixture.dtype).reshape(mixture.shape)


@torch.library.impl(FORWARD, "default")
def _(query: Tensor, context: Tensor, mixture: Tensor, *given: Any) -> Tensor:
    u, e, x, (gate, residual, backend) = one_stride(query), one_stride(context), mixture, _arguments(*given)
    with without_autocast(query):
        return passes.forward(_implementation(u, e, residual, backend), u, e, x, gate, residual)


@torch.library.register_fake(FORWARD)  # type: ignore[untyped-decorator]
def _(_query: Tensor, context: Tensor, _mixture: Tensor, *given: Any) -> Tensor:
    return new_map(one_stride(context), len(_arguments(*given)[0].bias))


@torch.library.impl(BACKWARD, "default")
def _(dout: Tensor, query: Tensor, context: Tensor, mixture: Tensor, *given: Any) -> list[Tensor]:
    """Return the gradients of the three maps and of the parameters."""
    d, u, e, x = map(one_stride, (dout, query, context, mixture))
    gate, residual, backend = _arguments(*given)
    with without_autocast(dout):
        return passes.gradients(_implementation(u, e, residual, backend), d, u, e, x, gate, residual)


@torch.library.register_fake(BACKWARD)  # type: ignore[untyped-decorator]
def _(_dout: Tensor, query: Tensor, context: Tensor, _mixture: Tensor, *given: Any) -> list[Tensor]:
    gate, *_ = _arguments(*given)
    u, e = one_stride(query), one_stride(context)
    maps = [new_map(u, u.shape[1]), new_map(e, e.shape[1]), new_map(e, len(gate.bias))]
    return maps + [torch.empty_like(p, memory_format=torch.contiguous_format) for p in gate]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - PyTorch's protocol
    *tensors, residual, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = residual, backend


def _differentiate(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
    tensors, (residual, backend) = ctx.saved_tensors, ctx.options
    if torch.is_grad_enabled() or is_transformed(dout, *tensors):

        def compute(inputs: list[Tensor]) -> Tensor:
            query, context, mixture, *of_gate = inputs
            return composed(query, context, mixture, GateParameters(*of_gate), residual)

        return *differentiable_gradients(compute, dout, tensors), None, None
    tell_flop_counters()
    return *torch.ops.crossattn3d.gate_backward(dout, *tensors, residual, backend), None, None


def _refuse(_ctx: Any, *_gradients: Any) -> Any:
    raise ValueError(
        "gate_backward: expected no derivative of a gradient that was recorded without it; got one; record that "
        "derivative instead"
    )


torch.library.register_autograd(FORWARD, _differentiate, setup_context=_setup_context)
# Programs that others have recorded call it where gradients are enabled.
torch.library.register_autograd(BACKWARD, _refuse)


def _arguments(*given: Any) -> tuple[GateParameters, bool, Backend]:
    *parameters, residual, backend = given
    return GateParameters(*parameters), residual, backend


def _implementation(u: Tensor, e: Tensor, residual: bool, backend: Backend) -> Implementation:
    return implementation(Attention("instance", residual, -3, backend), u, e)
